/** Contexts, beside the host's own means and Go's figures. */
import { context } from "gopark";
import { check, compare } from "./support/compare.ts";

const N = 20_000;
const { background, contextKey, withCancel, withTimeout, withValue } = context;

const key = contextKey<number>("key");
const root = withCancel(background()).ctx;
let deep = withValue(root, key, 1);
for (let i = 1; i < 20; i++) deep = withValue(deep, contextKey<number>(`other ${i}`), i);

await compare("context", [
  {
    name: "withCancel + cancel",
    ops: N,
    floor: () => {
      let aborted = 0;
      for (let i = 0; i < N; i++) {
        const controller = new AbortController();
        controller.abort();
        if (controller.signal.aborted) aborted++;
      }
      check(aborted, N);
    },
    ours: () => {
      let ended = 0;
      for (let i = 0; i < N; i++) {
        const [ctx, cancel] = withCancel(root);
        cancel();
        if (ctx.deadline() === undefined) ended++;
      }
      check(ended, N);
    },
    go: [158, 0.5],
  },
  {
    name: "withTimeout + cancel",
    ops: N,
    floor: () => {
      let cleared = 0;
      for (let i = 0; i < N; i++) {
        clearTimeout(setTimeout(() => {}, 1000));
        cleared++;
      }
      check(cleared, N);
    },
    ours: () => {
      let armed = 0;
      for (let i = 0; i < N; i++) {
        const [ctx, cancel] = withTimeout(root, 1000);
        if (ctx.deadline() !== undefined) armed++;
        cancel();
      }
      check(armed, N);
    },
    go: [516, 0.25],
  },
  {
    name: "build and cancel a tree of 10 000 (whole)",
    ops: 1,
    ours: () => {
      const [top, cancel] = withCancel(root);
      const nodes = [top];
      for (let i = 0; nodes.length < 10_000; i++) {
        const parent = nodes[i] as context.Context;
        for (let child = 0; child < 10 && nodes.length < 10_000; child++) nodes.push(withCancel(parent).ctx);
      }
      cancel();
      check(nodes.filter((ctx) => ctx.err() !== undefined).length, 10_000);
    },
    go: [2.6e6, 0.5],
  },
  {
    name: "value through 20 contexts",
    ops: N,
    ours: () => {
      let sum = 0;
      for (let i = 0; i < N; i++) sum += deep.value(key) ?? 0;
      check(sum, N);
    },
    go: [66, 1],
  },
]);
