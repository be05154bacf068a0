/**
 * Channels, beside the same hand-off written with bare promises.
 *
 * Each floor has loops of its own: a loop that sees several kinds of hand-off would be slower than one that sees one.
 */
import { Channel } from "gopark";
import { Buffered, Handoff, Line } from "./support/floor.ts";
import { check, type Row } from "./support/row.ts";
import { sieve, sieveFloor } from "./support/sieve.ts";
import { ParkedOnChannel, ParkedOnLine, PER_CALL } from "./support/waiters.ts";

const N = 5_000;
const SUM = (N * (N - 1)) / 2;
const SENDERS = 100;
const EACH = N / SENDERS;
const FAN_IN_SUM = (SENDERS * EACH * (EACH - 1)) / 2;

async function pingPong(): Promise<void> {
  const a = new Channel<number>();
  const b = new Channel<number>();
  const echoing = (async () => {
    for (let i = 0; i < N; i++) await b.send((await a.receive()).value as number);
  })();
  let sum = 0;
  for (let i = 0; i < N; i++) {
    await a.send(i);
    sum += (await b.receive()).value as number;
  }
  await echoing;
  check(sum, SUM);
}

async function pingPongFloor(): Promise<void> {
  const a = new Handoff<number>();
  const b = new Handoff<number>();
  const echoing = (async () => {
    for (let i = 0; i < N; i++) await b.send((await a.receive()).value as number);
  })();
  let sum = 0;
  for (let i = 0; i < N; i++) {
    await a.send(i);
    sum += (await b.receive()).value as number;
  }
  await echoing;
  check(sum, SUM);
}

async function stream(capacity: number): Promise<void> {
  const ch = new Channel<number>(capacity);
  const receiving = (async () => {
    let sum = 0;
    for (let i = 0; i < N; i++) sum += (await ch.receive()).value as number;
    return sum;
  })();
  for (let i = 0; i < N; i++) await ch.send(i);
  check(await receiving, SUM);
}

async function streamFloor(): Promise<void> {
  const ch = new Handoff<number>();
  const receiving = (async () => {
    let sum = 0;
    for (let i = 0; i < N; i++) sum += (await ch.receive()).value as number;
    return sum;
  })();
  for (let i = 0; i < N; i++) await ch.send(i);
  check(await receiving, SUM);
}

async function bufferedFloor(): Promise<void> {
  const ch = new Buffered<number>(128);
  const receiving = (async () => {
    let sum = 0;
    for (let i = 0; i < N; i++) sum += (await ch.receive()).value as number;
    return sum;
  })();
  for (let i = 0; i < N; i++) await ch.send(i);
  check(await receiving, SUM);
}

/** Try first, and await only what would have waited: how hot loops are written. */
async function tryFirst(): Promise<void> {
  const ch = new Channel<number>(128);
  const receiving = (async () => {
    let sum = 0;
    for (let i = 0; i < N; i++) sum += (ch.tryReceive() ?? (await ch.receive())).value as number;
    return sum;
  })();
  for (let i = 0; i < N; i++) if (!ch.trySend(i)) await ch.send(i);
  check(await receiving, SUM);
}

async function tryFirstFloor(): Promise<void> {
  const ch = new Buffered<number>(128);
  const receiving = (async () => {
    let sum = 0;
    for (let i = 0; i < N; i++) sum += (ch.tryReceive() ?? (await ch.receive())).value as number;
    return sum;
  })();
  for (let i = 0; i < N; i++) if (!ch.trySend(i)) await ch.send(i);
  check(await receiving, SUM);
}

async function fanIn(): Promise<void> {
  const ch = new Channel<number>();
  const sending = Array.from({ length: SENDERS }, async () => {
    for (let i = 0; i < EACH; i++) await ch.send(i);
  });
  let sum = 0;
  for (let i = 0; i < N; i++) sum += (await ch.receive()).value as number;
  await Promise.all(sending);
  check(sum, FAN_IN_SUM);
}

async function fanInFloor(): Promise<void> {
  const ch = new Line<number>();
  const sending = Array.from({ length: SENDERS }, async () => {
    for (let i = 0; i < EACH; i++) await ch.send(i);
  });
  let sum = 0;
  for (let i = 0; i < N; i++) sum += (await ch.receive()).value as number;
  await Promise.all(sending);
  check(sum, FAN_IN_SUM);
}

/** The receivers park before the first call and stay parked: what is measured is to serve the front one. */
function waiters(receivers: number): Row {
  const onChannel = new ParkedOnChannel();
  const onLine = new ParkedOnLine();
  return {
    id: `chan.waiters${receivers}`,
    what: `receivers parked on one channel, ${receivers} at a time: send to the front one, which parks again`,
    ops: PER_CALL,
    ours: () => onChannel.serve(receivers),
    floor: () => onLine.serve(receivers),
  };
}

const STEPS =
  "A wait here is one of any number, can fail, leaves in O(1) and is counted, and the event loop gets its turns: below is what each costs.";

export const rows: readonly Row[] = [
  {
    id: "chan.pingpong",
    what: "two unbuffered channels, a value there and back: one round trip",
    ops: N,
    ours: pingPong,
    floor: pingPongFloor,
    targets: { floor: 1.15, go: 1.5 },
    next: { targets: { floor: 1.45 }, why: STEPS },
  },
  {
    id: "chan.stream",
    what: "one sender, one receiver, unbuffered: one value",
    ops: N,
    ours: () => stream(0),
    floor: streamFloor,
    targets: { floor: 1.2, go: 1 },
    next: { targets: { floor: 1.35 }, why: STEPS },
  },
  {
    id: "chan.buffered",
    what: "one sender, one receiver, a buffer of 128, awaited on both sides: one value",
    ops: N,
    ours: () => stream(128),
    floor: bufferedFloor,
    targets: { floor: 1.5 },
  },
  {
    id: "chan.tryfirst",
    what: "the same, trying first on both sides and awaiting only what would wait: one value",
    ops: N,
    ours: tryFirst,
    floor: tryFirstFloor,
    floorIs: "an array as a ring",
    goRow: "chan.buffered",
    targets: { go: 0.4 },
    next: {
      targets: { go: 0.6 },
      why: "No promise is made: what is left is a push, a shift, and the question who else waits or has closed.",
    },
  },
  {
    id: "chan.fanin",
    what: `${SENDERS} senders on one unbuffered channel: one value`,
    ops: N,
    ours: fanIn,
    floor: fanInFloor,
    targets: { floor: 1.25, go: 1.5 },
    next: { targets: { floor: 1.35 }, why: STEPS },
  },
  {
    id: "chan.sieve",
    what: "the prime sieve up to the 200th prime, a channel and a task for each: the whole",
    ops: 1,
    ours: sieve,
    floor: sieveFloor,
    targets: { go: 1.3 },
    next: { targets: { floor: 1.65 }, why: STEPS },
  },
  waiters(1),
  waiters(10),
  waiters(1000),
];
