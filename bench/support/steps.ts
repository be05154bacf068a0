/**
 * From the bare hand-off to the channel, step by step: each class adds one guarantee of a channel to the one before.
 * The last step before ours is the real lower bound for a channel.
 */
import { Channel } from "gopark";
import { Handoff, type Received } from "./floor.ts";
import { check } from "./row.ts";

export interface Stream {
  send(value: number): Promise<void>;
  receive(): Promise<Received<number>>;
}

interface Step {
  /** What it does beyond the step before. */
  readonly adds: string;
  readonly make: () => Stream;
}

const DONE = Promise.resolve();

interface Settle<V> {
  readonly resolve: (value: V) => void;
  readonly reject: (reason: unknown) => void;
}

class Failing implements Stream {
  private value = 0;
  private sender: Settle<void> | undefined;
  private receiver: Settle<Received<number>> | undefined;

  send(value: number): Promise<void> {
    const { receiver } = this;
    if (receiver !== undefined) {
      this.receiver = undefined;
      receiver.resolve({ value, ok: true });
      return DONE;
    }
    this.value = value;
    return new Promise((resolve, reject) => {
      this.sender = { resolve, reject };
    });
  }

  receive(): Promise<Received<number>> {
    const { sender } = this;
    if (sender !== undefined) {
      this.sender = undefined;
      sender.resolve();
      return Promise.resolve({ value: this.value, ok: true });
    }
    return new Promise((resolve, reject) => {
      this.receiver = { resolve, reject };
    });
  }
}

class Wait<V> {
  readonly promise: Promise<V>;
  readonly value: number;
  resolve!: (value: V) => void;
  reject!: (reason: unknown) => void;
  queue: Queue<V> | undefined = undefined;
  prev: Wait<V> | undefined = undefined;
  next: Wait<V> | undefined = undefined;

  constructor(value: number) {
    this.value = value;
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
  }
}

class Queue<V> {
  private front: Wait<V> | undefined;
  private back: Wait<V> | undefined;

  push(wait: Wait<V>): void {
    wait.queue = this;
    wait.prev = this.back;
    if (this.back === undefined) this.front = wait;
    else this.back.next = wait;
    this.back = wait;
  }

  shift(): Wait<V> | undefined {
    const wait = this.front;
    if (wait !== undefined) this.remove(wait);
    return wait;
  }

  remove(wait: Wait<V>): void {
    const { prev, next } = wait;
    if (prev === undefined) this.front = next;
    else prev.next = next;
    if (next === undefined) this.back = prev;
    else next.prev = prev;
    wait.queue = wait.prev = wait.next = undefined;
  }
}

class Queued implements Stream {
  private readonly senders = new Queue<void>();
  private readonly receivers = new Queue<Received<number>>();

  send(value: number): Promise<void> {
    const receiver = this.receivers.shift();
    if (receiver !== undefined) {
      receiver.resolve({ value, ok: true });
      return DONE;
    }
    const wait = new Wait<void>(value);
    this.senders.push(wait);
    return wait.promise;
  }

  receive(): Promise<Received<number>> {
    const sender = this.senders.shift();
    if (sender !== undefined) {
      sender.resolve();
      return Promise.resolve({ value: sender.value, ok: true });
    }
    const wait = new Wait<Received<number>>(0);
    this.receivers.push(wait);
    return wait.promise;
  }
}

/** Counts completions, reads the clock every 256, and after a millisecond defers further ones to the next turn. */
class Turn {
  private left = 256;
  private last = false;
  private began = 0;
  private deferredCalls: (() => void)[] = [];

  charge(): boolean {
    if (--this.left >= 0) return true;
    if (this.last) return false;
    this.left = 255;
    if (performance.now() - this.began >= 1) {
      this.last = true;
      setImmediate(() => this.renew());
    }
    return true;
  }

  /** Calls `resolve` in a later turn. */
  defer<V>(resolve: (value: V) => void, value: V): void {
    this.deferredCalls.push(() => resolve(value));
  }

  /** A promise for a completion over the budget. */
  deferred<V>(value: V): Promise<V> {
    return new Promise((resolve) => this.defer(resolve, value));
  }

  private renew(): void {
    this.last = false;
    this.left = 256;
    this.began = performance.now();
    const calls = this.deferredCalls;
    this.deferredCalls = [];
    for (const complete of calls) complete();
  }
}

// One budget for all, because there is one event loop.
const budget = new Turn();

class Yielding implements Stream {
  private readonly senders = new Queue<void>();
  private readonly receivers = new Queue<Received<number>>();
  sending = 0;
  receiving = 0;

  send(value: number): Promise<void> {
    const receiver = this.receivers.shift();
    if (receiver !== undefined) {
      this.receiving--;
      const received = { value, ok: true } as const;
      if (budget.charge()) receiver.resolve(received);
      else budget.defer(receiver.resolve, received);
      return budget.charge() ? DONE : budget.deferred(undefined);
    }
    const wait = new Wait<void>(value);
    this.sending++;
    this.senders.push(wait);
    return wait.promise;
  }

  receive(): Promise<Received<number>> {
    const sender = this.senders.shift();
    if (sender !== undefined) {
      this.sending--;
      if (budget.charge()) sender.resolve();
      else budget.defer(sender.resolve, undefined);
      const received = { value: sender.value, ok: true } as const;
      return budget.charge() ? Promise.resolve(received) : budget.deferred(received);
    }
    const wait = new Wait<Received<number>>(0);
    this.receiving++;
    this.receivers.push(wait);
    return wait.promise;
  }
}

export const steps: readonly Step[] = [
  {
    adds: "the bare hand-off: one sender, one receiver, a promise for the one that comes first",
    make: () => new Handoff(),
  },
  { adds: "a wait can fail, because its context ends or its channel is closed", make: () => new Failing() },
  { adds: "any number of waits on each side, each unlinked in O(1)", make: () => new Queued() },
  { adds: "parked waits are counted, and the event loop gets a turn every millisecond", make: () => new Yielding() },
  {
    adds: "gopark's channel: the rest, such as checks for a closed channel, a context and a buffer",
    make: () => new Channel(),
  },
];

/** What is measured of each step. */
export const works: Readonly<Record<Work, (make: Step["make"], values: number) => Promise<void>>> = {
  value: (make, values) => stream(make(), values),
  roundTrip: (make, values) => pingPong(make(), make(), values),
};

export type Work = "value" | "roundTrip";

/** The unbuffered stream of the row `chan.stream`. */
async function stream(ch: Stream, values: number): Promise<void> {
  const receiving = (async () => {
    let sum = 0;
    for (let i = 0; i < values; i++) sum += (await ch.receive()).value as number;
    return sum;
  })();
  for (let i = 0; i < values; i++) await ch.send(i);
  check(await receiving, (values * (values - 1)) / 2);
}

/** The ping-pong of the row `chan.pingpong`. */
async function pingPong(a: Stream, b: Stream, values: number): Promise<void> {
  const echoing = (async () => {
    for (let i = 0; i < values; i++) await b.send((await a.receive()).value as number);
  })();
  let sum = 0;
  for (let i = 0; i < values; i++) {
    await a.send(i);
    sum += (await b.receive()).value as number;
  }
  await echoing;
  check(sum, (values * (values - 1)) / 2);
}
