/**
 * Channels, compared with the same hand-off written with bare promises.
 *
 * Each floor has loops of its own: V8 compiles a loop over one class to faster code than one over several.
 */
import { Channel } from "gopark";
import { BufferedHandoff, Handoff, QueuedHandoff } from "./support/floor.ts";
import { check, type Row } from "./support/row.ts";
import { sieve, sieveFloor } from "./support/sieve.ts";
import { ParkedOnChannel, ParkedOnFloor, PER_CALL } from "./support/waiters.ts";

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
  const ch = new BufferedHandoff<number>(128);
  const receiving = (async () => {
    let sum = 0;
    for (let i = 0; i < N; i++) sum += (await ch.receive()).value as number;
    return sum;
  })();
  for (let i = 0; i < N; i++) await ch.send(i);
  check(await receiving, SUM);
}

/** Tries first, and awaits only where that fails, as hot loops do. */
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
  const ch = new BufferedHandoff<number>(128);
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
  const ch = new QueuedHandoff<number>();
  const sending = Array.from({ length: SENDERS }, async () => {
    for (let i = 0; i < EACH; i++) await ch.send(i);
  });
  let sum = 0;
  for (let i = 0; i < N; i++) sum += (await ch.receive()).value as number;
  await Promise.all(sending);
  check(sum, FAN_IN_SUM);
}

/** The receivers park before the first call and stay parked: measured is a send to the front one. */
function waiters(receivers: number): Row {
  const onChannel = new ParkedOnChannel();
  const onFloor = new ParkedOnFloor();
  return {
    id: `chan.waiters${receivers}`,
    what: `receivers parked on one channel, ${receivers} at a time: send to the front one, which parks again`,
    ops: PER_CALL,
    ours: () => onChannel.serve(receivers),
    floor: () => onFloor.serve(receivers),
  };
}

const STEPS =
  "Any number can wait here; each wait can fail, is unlinked in O(1) and counted; and the event loop gets its turns. The table of steps from a bare promise to a channel has the cost of each.";

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
    what: "the same with trySend and tryReceive, awaiting only where they fail: one value",
    ops: N,
    ours: tryFirst,
    floor: tryFirstFloor,
    floorIs: "a ring buffer in an array",
    goRow: "chan.buffered",
    targets: { go: 0.4 },
    next: {
      targets: { go: 0.6 },
      why: "No promise is made. What remains is a push, a shift, and the checks whether anything waits or the channel is closed.",
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
    what: "the prime sieve up to the 200th prime, a channel and a task for each: the whole sieve",
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
