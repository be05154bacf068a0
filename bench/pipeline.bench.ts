/** Stages of a pipeline, beside the same work by a group and a channel. */
import { Channel, context, errgroup, pipeline } from "gopark";
import { check, type Row } from "./support/row.ts";

const ITEMS = 50_000;
const LIMIT = 10;
const ctx = context.withCancel(context.background()).ctx;
const items = Array.from({ length: ITEMS }, (_, i) => i);
const double = async (item: number) => item * 2;

async function sumOf(results: AsyncIterable<number>): Promise<void> {
  let sum = 0;
  for await (const result of results) sum += result;
  check(sum, ITEMS * (ITEMS - 1));
}

/** All results by a group, and then each of them through a channel. */
async function groupAndChannel(limit: number): Promise<void> {
  const results = await errgroup.map(ctx, items, double, { limit });
  const ch = new Channel<number>();
  const sending = (async () => {
    for (const result of results) await ch.send(result);
    ch.close();
  })();
  let sum = 0;
  for (let r = await ch.receive(); r.ok; r = await ch.receive()) sum += r.value;
  await sending;
  check(sum, ITEMS * (ITEMS - 1));
}

/** The same by async generators, which neither overlap nor can be cancelled. */
async function* doubled(input: AsyncIterable<number>): AsyncGenerator<number> {
  for await (const item of input) yield await double(item);
}

async function* all(): AsyncGenerator<number> {
  yield* items;
}

export const rows: readonly Row[] = [
  {
    id: "pipeline.map",
    what: `pipeline.map over ${ITEMS} items, ${LIMIT} at once: one item`,
    ops: ITEMS,
    ours: () => sumOf(pipeline.map(ctx, items, double, { concurrency: LIMIT })),
    floor: () => groupAndChannel(LIMIT),
    floorIs: "errgroup.map, and then a channel for its results",
    targets: { floor: 1.1 },
  },
  {
    id: "pipeline.map.single",
    what: "the same, one at a time: one item",
    ops: ITEMS,
    ours: () => sumOf(pipeline.map(ctx, items, double)),
    floor: () => groupAndChannel(1),
    floorIs: "errgroup.map, and then a channel for its results",
    targets: { floor: 1.1 },
  },
  {
    id: "pipeline.stages",
    what: "two stages of pipeline.map, one behind the other: one item",
    ops: ITEMS,
    ours: () =>
      sumOf(
        pipeline.map(
          ctx,
          pipeline.map(ctx, items, (n) => n),
          double,
        ),
      ),
    floor: () => sumOf(doubled(all())),
    floorIs: "two async generators, which do not overlap",
  },
];
