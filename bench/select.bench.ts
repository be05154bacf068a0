/**
 * Select. Most rows have no floor: bare promises cannot do what select does, as `Promise.race` also consumes the values
 * of the losers. A floor here is code for exactly the senders of its row.
 */
import { after, Channel, context, select } from "gopark";
import { type PickedValue, TwoHandoffs } from "./support/floor.ts";
import { check, type Row } from "./support/row.ts";

const N = 5_000;

async function twoAndQuit(): Promise<void> {
  const a = new Channel<number>();
  const b = new Channel<number>();
  const [quit, cancel] = context.withCancel(context.background());
  const produce = async (ch: Channel<number>) => {
    for (let i = 0; i < N / 2; i++) await ch.send(1);
  };
  const producing = [produce(a), produce(b)];
  let sum = 0;
  while (sum < N) {
    const s = await select({ a, b, quit });
    if (s.case === "quit") throw s.value;
    sum += s.value as number;
  }
  await Promise.all(producing);
  cancel();
  check(sum, N);
}

async function twoFloor(): Promise<void> {
  const either = new TwoHandoffs<number>();
  const produce = async (side: "a" | "b") => {
    for (let i = 0; i < N / 2; i++) await either.send(side, 1);
  };
  const producing = [produce("a"), produce("b")];
  let sum = 0;
  while (sum < N) sum += (await either.receive()).value;
  await Promise.all(producing);
  check(sum, N);
}

async function withAfter(): Promise<void> {
  const ch = new Channel<number>(1);
  let sum = 0;
  for (let i = 0; i < N; i++) {
    ch.trySend(1);
    const s = await select({ ch, late: after(1000) });
    if (s.case === "ch" && s.ok) sum += s.value;
  }
  check(sum, N);
}

async function withAfterFloor(): Promise<void> {
  let sum = 0;
  for (let i = 0; i < N; i++) {
    const late = performance.now() + 1000;
    if (performance.now() >= late) throw new Error("late");
    sum += (await Promise.resolve<PickedValue<number>>({ case: "a", value: 1, ok: true })).value;
  }
  check(sum, N);
}

/** Receives `values` values by select over n channels, which one task sends to in turn. */
export async function overChannels(n: number, values: number): Promise<void> {
  const channels = Array.from({ length: n }, () => new Channel<number>());
  const cases = Object.fromEntries(channels.map((ch, i) => [`c${i}`, ch]));
  const sending = (async () => {
    for (let i = 0; i < values; i++) await (channels[i % n] as Channel<number>).send(i);
  })();
  let sum = 0;
  for (let i = 0; i < values; i++) sum += (await select(cases)).value as number;
  await sending;
  check(sum, (values * (values - 1)) / 2);
}

function over(n: number, values: number): Row {
  return {
    id: `select.n${n}`,
    what: `select over ${n} unbuffered channels, sent to in turn: one value`,
    ops: values,
    ours: () => overChannels(n, values),
  };
}

export const rows: readonly Row[] = [
  {
    id: "select.two",
    what: "select over two channels and a context, a sender on each channel: one value",
    ops: N,
    ours: twoAndQuit,
    floor: twoFloor,
    floorIs: "one promise for the first of two fixed senders, and no way to quit",
    targets: { go: 0.9 },
    next: {
      targets: { floor: 1.7 },
      why: "Any number of cases, chosen at random, each of which can be parked on and unlinked: an object for each case, and one for the select.",
    },
  },
  over(2, N),
  over(8, 2_000),
  over(64, 500),
  {
    id: "select.after",
    what: "select over a ready channel and a timeout of a second: one select",
    ops: N,
    ours: withAfter,
    floor: withAfterFloor,
    floorIs: "two readings of the clock, one bare await",
    targets: { go: 0.5 },
    next: { targets: { floor: 2.2 }, why: "Two cases are read and checked besides, and the answer names one." },
  },
];
