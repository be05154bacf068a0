/** Tasks and groups of tasks, compared with bare promises. */
import { context, errgroup, go } from "gopark";
import { BareGroup } from "./support/floor.ts";
import { check, type Row } from "./support/row.ts";

const N = 2_000;
const ITEMS = 100_000;
const LIMIT = 10;
const ctx = context.withCancel(context.background()).ctx;
const items = Array.from({ length: ITEMS }, (_, i) => i);

async function tasks(): Promise<void> {
  let n = 0;
  for (let i = 0; i < N; i++) {
    await go(async () => {
      n++;
    });
  }
  check(n, N);
}

async function tasksFloor(): Promise<void> {
  let n = 0;
  for (let i = 0; i < N; i++) {
    await Promise.resolve().then(async () => {
      n++;
    });
  }
  check(n, N);
}

async function hundred(): Promise<void> {
  let n = 0;
  for (let i = 0; i < N / 100; i++) {
    const g = new errgroup.Group();
    for (let t = 0; t < 100; t++) {
      void g.go(async () => {
        n++;
      });
    }
    await g.wait();
  }
  check(n, N);
}

async function hundredFloor(): Promise<void> {
  let n = 0;
  for (let i = 0; i < N / 100; i++) {
    await Promise.all(
      Array.from({ length: 100 }, async () => {
        n++;
      }),
    );
  }
  check(n, N);
}

async function hundredCounted(): Promise<void> {
  let n = 0;
  for (let i = 0; i < N / 100; i++) {
    const together = new BareGroup();
    for (let t = 0; t < 100; t++) {
      void together.go(async () => {
        n++;
      });
    }
    await together.wait();
  }
  check(n, N);
}

async function map(): Promise<void> {
  verify(await errgroup.map(ctx, items, async (item) => item * 2, { limit: LIMIT }));
}

/** `LIMIT` loops take the items by a common index. */
async function mapFloor(): Promise<void> {
  const double = async (item: number) => item * 2;
  const results = new Array<number>(ITEMS);
  let next = 0;
  const loop = async () => {
    while (next < ITEMS) {
      const i = next++;
      results[i] = await double(items[i] as number);
    }
  };
  await Promise.all(Array.from({ length: LIMIT }, loop));
  verify(results);
}

function verify(results: readonly number[]): void {
  check(results.length, ITEMS);
  let sum = 0;
  for (let i = 0; i < ITEMS; i++) sum += results[i] as number;
  check(sum, ITEMS * (ITEMS - 1));
  check(results[7], 14);
}

export const rows: readonly Row[] = [
  {
    id: "go.done",
    what: "start a task and await its end: one task",
    ops: N,
    ours: tasks,
    floor: tasksFloor,
    floorIs: "Promise.resolve().then(task)",
    targets: { go: 0.4 },
    next: {
      targets: { floor: 1.6 },
      why: "Each task is counted and charged to the budget of its turn, and two things are awaited: its start and its end.",
    },
  },
  {
    id: "group.hundred",
    what: "a group of 100 tasks that end at once, waited for: the whole group",
    ops: N / 100,
    ours: hundred,
    floor: hundredFloor,
    floorIs: "Promise.all",
    targets: { go: 1 },
  },
  {
    id: "group.hundred.must",
    what: "the same group, beside a floor that does all that a group must: the whole group",
    ops: N / 100,
    ours: hundred,
    floor: hundredCounted,
    floorIs: "bare promises: each task started in a microtask of its own and counted, the first error kept",
    goRow: "group.hundred",
    targets: { go: 1.2 },
  },
  {
    id: "group.map100k",
    what: `errgroup.map over ${ITEMS} items, ${LIMIT} at once: one item`,
    ops: ITEMS,
    ours: map,
    floor: mapFloor,
    floorIs: `${LIMIT} loops over a common index`,
  },
];
