/** Contexts, compared with the host's own means. */
import { context } from "gopark";
import { check, type Row } from "./support/row.ts";

const N = 20_000;
const { background, contextKey, withCancel, withTimeout, withValue } = context;

const key = contextKey<number>("key");
const root = withCancel(background()).ctx;
let lowest = withValue(root, key, 1);
for (let i = 1; i < 20; i++) lowest = withValue(lowest, contextKey<number>(`other ${i}`), i);

/**
 * Reads the error of the last context only: most contexts are cancelled after the work, and nothing reads their error.
 */
function cancelled(): void {
  let last = root;
  for (let i = 0; i < N; i++) {
    const [ctx, cancel] = withCancel(root);
    cancel();
    last = ctx;
  }
  check(last.err() instanceof context.Canceled ? 1 : 0, 1);
}

function aborted(): void {
  let last = new AbortController();
  for (let i = 0; i < N; i++) {
    const controller = new AbortController();
    controller.abort();
    last = controller;
  }
  check(last.signal.aborted ? 1 : 0, 1);
}

function timeout(): void {
  let armed = 0;
  for (let i = 0; i < N; i++) {
    const [ctx, cancel] = withTimeout(root, 1000);
    if (ctx.deadline() !== undefined) armed++;
    cancel();
  }
  check(armed, N);
}

function timeoutFloor(): void {
  let armed = 0;
  for (let i = 0; i < N; i++) {
    const timer = setTimeout(() => {}, 1000);
    if (timer.hasRef()) armed++;
    clearTimeout(timer);
  }
  check(armed, N);
}

function tree(): void {
  const [top, cancel] = withCancel(root);
  const nodes = [top];
  for (let i = 0; nodes.length < 10_000; i++) {
    const parent = nodes[i] as context.Context;
    for (let child = 0; child < 10 && nodes.length < 10_000; child++) nodes.push(withCancel(parent).ctx);
  }
  cancel();
  check(nodes.filter((ctx) => ctx.err() !== undefined).length, 10_000);
}

function deep(): void {
  const [top, cancel] = withCancel(root);
  const chain = [top];
  for (let leaf = top; chain.length < 1000; chain.push(leaf)) leaf = withCancel(leaf).ctx;
  cancel();
  check(chain.filter((ctx) => ctx.err() !== undefined).length, 1000);
}

/** Builds one context with `children` directly below it and cancels it. */
export function wide(children: number): void {
  const [top, cancel] = withCancel(root);
  const nodes = Array.from({ length: children }, () => withCancel(top).ctx);
  cancel();
  const err = top.err();
  let ended = 0;
  for (const ctx of nodes) if (ctx.err() === err) ended++;
  check(ended, children);
}

function value(): void {
  let sum = 0;
  for (let i = 0; i < N; i++) sum += lowest.value(key) ?? 0;
  check(sum, N);
}

export const rows: readonly Row[] = [
  {
    id: "ctx.cancel",
    what: "withCancel below a context that can be cancelled, cancel: one context (the error of the last one is read)",
    ops: N,
    ours: cancelled,
    floor: aborted,
    floorIs: "new AbortController + abort",
    targets: { go: 0.5 },
  },
  {
    id: "ctx.timeout",
    what: "withTimeout of a second, read its deadline, cancel: one context",
    ops: N,
    ours: timeout,
    floor: timeoutFloor,
    floorIs: "setTimeout + clearTimeout",
    targets: { go: 0.25 },
    next: {
      targets: { floor: 1.6 },
      why: "The deadline is computed from a clock that is looked up at each reading, so that fake timers work, and is kept in a heap with the others.",
    },
  },
  {
    id: "ctx.tree",
    what: "build a tree of 10 000 contexts, ten below each, and cancel it: the whole tree",
    ops: 1,
    ours: tree,
    targets: { go: 0.5 },
  },
  {
    id: "ctx.deep1000",
    what: "build a chain of 1000 contexts and cancel the first: the whole chain",
    ops: 1,
    ours: deep,
  },
  {
    id: "ctx.wide",
    what: "build 100 000 contexts below one and cancel that one: all of them",
    ops: 1,
    ours: () => wide(100_000),
  },
  {
    id: "ctx.value20",
    what: "look a value up through 20 contexts: one look-up",
    ops: N,
    ours: value,
    targets: { go: 1 },
  },
];
