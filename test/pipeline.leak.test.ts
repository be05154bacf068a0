/** What a pipeline leaves: nothing, or, where it was begun and forgotten, a record that shows where. */
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { counters, find, track } from "gopark/leak";
import { batch, broadcast, collect, from, map, merge, tee } from "gopark/pipeline";
import { afterEach, expect, test } from "vitest";
import { aliveSince } from "./support/alive.ts";
import { bytesPerRound } from "./support/heap.ts";
import { turn, turns } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";

const ctx = background();

afterEach(() => track("full"));

test("a stage that is begun and forgotten is reported, with the place of its first next, until its context ends", async () => {
  const before = find();
  const [parent, cancel] = withCancel(ctx);
  const iterator = map(parent, [1, 2, 3], (n) => n)[Symbol.asyncIterator]();
  function beginsHere() {
    return iterator.next();
  }
  await beginsHere();
  await turn();
  const left = find().slice(before.length);
  const stage = left.find(({ kind }) => kind === "pipeline stage");
  expect(left.map(({ kind }) => kind).sort()).toEqual(["context", "context", "pipeline room", "pipeline stage"]);
  expect(stage?.stack).toContain("beginsHere");
  expect(stage?.stack).not.toContain("internal/pipeline");
  cancel();
  await turn();
  expect(find()).toEqual(before);
});

test("the functions that run are counted as tasks, and a parked consumer as a wait", async () => {
  const before = counters();
  const gate = new Channel<void>();
  const all = collect(
    ctx,
    map(ctx, [1, 2, 3, 4, 5], () => gate.receive(), { concurrency: 3 }),
  );
  await turn();
  expect(aliveSince(before)).toEqual({
    "chan receive": 3,
    context: 1,
    "iterator next": 1,
    "pipeline next": 1,
    "pipeline room": 1,
    "pipeline stage": 1,
    task: 3,
  });
  gate.close();
  await all;
  expect(aliveSince(before)).toEqual({});
});

test("the hub of a tee is reported with the place of the first next", async () => {
  const before = find().length;
  const [a, b] = tee(ctx, [1, 2, 3, 4, 5]).map((stage) => stage[Symbol.asyncIterator]()) as [
    AsyncIterableIterator<number>,
    AsyncIterableIterator<number>,
  ];
  function beginsHere() {
    return a.next();
  }
  await beginsHere();
  await turn();
  const stages = find()
    .slice(before)
    .filter(({ kind }) => kind === "pipeline stage");
  expect(stages.map(({ stack }) => stack?.includes("beginsHere"))).toEqual([true, true]);
  await a.return?.();
  await b.return?.();
});

test("a stage that was returned keeps none of the results that nobody has taken", async () => {
  let freed = 0;
  const registry = new FinalizationRegistry(() => freed++);
  const make = () => {
    const result = {};
    registry.register(result, undefined);
    return result;
  };
  const iterator = map(ctx, [1, 2, 3], make, { concurrency: 2 })[Symbol.asyncIterator]();
  await iterator.next();
  await turns(2);
  await iterator.return?.();
  expect(await collectUntil(() => freed === 3)).toBe(true);
  expect(await iterator.next()).toEqual({ value: undefined, done: true });
});

test("a long pipeline takes no memory with its length, whatever its consumer's pace", async () => {
  track("counters");
  const [parent, cancel] = withCancel(ctx);
  function* forever() {
    for (let n = 0; ; n++) yield n;
  }
  const [a, b] = tee(parent, forever());
  const hub = broadcast(
    parent,
    merge(
      parent,
      a,
      map(parent, b, async (n) => n, { concurrency: 4 }),
    ),
  );
  const iterator = batch(parent, hub.subscribe(), 3)[Symbol.asyncIterator]();
  void hub.subscribe({ slow: "dropOldest", buffer: 10 });
  expect(await bytesPerRound(() => iterator.next(), 2_000)).toBeLessThan(20);
  cancel();
  await iterator.return?.();
});

test("thousands of stages under one context, left at once, leave nothing with it", async () => {
  track("counters");
  const [parent, cancel] = withCancel(ctx);
  const round = async () => {
    for await (const _ of map(parent, from(parent, [1, 2, 3]), (n) => n)) break;
  };
  expect(await bytesPerRound(round, 500)).toBeLessThan(200);
  await turns(1);
  cancel();
});
