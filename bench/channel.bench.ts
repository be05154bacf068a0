/** Channels beside the same hand-off written with bare promises. */
import { Channel } from "gopark";
import { check, compare } from "./support/compare.ts";

const DONE = Promise.resolve();

/** An unbuffered hand-off for one sender and one receiver, with nothing but promises. */
class Handoff<T> {
  private value: T | undefined;
  private sent: (() => void) | undefined;
  private received: ((value: T) => void) | undefined;

  send(value: T): Promise<void> {
    const { received } = this;
    if (received !== undefined) {
      this.received = undefined;
      received(value);
      return DONE;
    }
    this.value = value;
    return new Promise((resolve) => {
      this.sent = resolve;
    });
  }

  receive(): Promise<T> {
    const { sent } = this;
    if (sent !== undefined) {
      this.sent = undefined;
      sent();
      return Promise.resolve(this.value as T);
    }
    return new Promise((resolve) => {
      this.received = resolve;
    });
  }
}

/** A buffered one: an array as a ring, promises only at its ends. */
class Buffer<T> {
  private readonly slots: (T | undefined)[];
  private head = 0;
  private size = 0;
  private sender: (() => void) | undefined;
  private receiver: ((value: T) => void) | undefined;

  constructor(capacity: number) {
    this.slots = new Array(capacity);
  }

  send(value: T): Promise<void> {
    const { receiver } = this;
    if (receiver !== undefined) {
      this.receiver = undefined;
      receiver(value);
      return DONE;
    }
    if (this.size < this.slots.length) {
      this.slots[(this.head + this.size++) % this.slots.length] = value;
      return DONE;
    }
    return new Promise<void>((resolve) => {
      this.sender = resolve;
    }).then(() => this.send(value));
  }

  receive(): Promise<T> {
    if (this.size === 0) {
      return new Promise((resolve) => {
        this.receiver = resolve;
      });
    }
    const value = this.slots[this.head] as T;
    this.slots[this.head] = undefined;
    this.head = (this.head + 1) % this.slots.length;
    this.size--;
    const { sender } = this;
    this.sender = undefined;
    sender?.();
    return Promise.resolve(value);
  }
}

const N = 5_000;

async function pingPong(send: (n: number) => Promise<void>, receive: () => Promise<number>, echo: () => Promise<void>) {
  const echoing = echo();
  let sum = 0;
  for (let i = 0; i < N; i++) {
    await send(i);
    sum += await receive();
  }
  await echoing;
  check(sum, (N * (N - 1)) / 2);
}

async function stream(send: (n: number) => Promise<void>, receive: () => Promise<number>): Promise<void> {
  const receiving = (async () => {
    let sum = 0;
    for (let i = 0; i < N; i++) sum += await receive();
    check(sum, (N * (N - 1)) / 2);
  })();
  for (let i = 0; i < N; i++) await send(i);
  await receiving;
}

async function streamChannel(capacity: number): Promise<void> {
  const ch = new Channel<number>(capacity);
  const receiving = (async () => {
    let sum = 0;
    for (let i = 0; i < N; i++) sum += (await ch.receive()).value as number;
    check(sum, (N * (N - 1)) / 2);
  })();
  for (let i = 0; i < N; i++) await ch.send(i);
  await receiving;
}

/** Try first, and await only what would have waited: how hot loops are written. */
async function streamTryFirst(capacity: number): Promise<void> {
  const ch = new Channel<number>(capacity);
  const receiving = (async () => {
    let sum = 0;
    for (let i = 0; i < N; i++) sum += (ch.tryReceive() ?? (await ch.receive())).value as number;
    check(sum, (N * (N - 1)) / 2);
  })();
  for (let i = 0; i < N; i++) if (!ch.trySend(i)) await ch.send(i);
  await receiving;
}

async function fanIn(senders: number): Promise<void> {
  const ch = new Channel<number>();
  const each = N / senders;
  const sending = Array.from({ length: senders }, async () => {
    for (let i = 0; i < each; i++) await ch.send(i);
  });
  let sum = 0;
  for (let i = 0; i < N; i++) sum += (await ch.receive()).value as number;
  await Promise.all(sending);
  check(sum, (senders * each * (each - 1)) / 2);
}

async function generate(ch: Channel<number>): Promise<void> {
  try {
    for (let i = 2; ; i++) await ch.send(i);
  } catch {
    // Closed: the sieve has seen enough.
  }
}

async function filter(from: Channel<number>, to: Channel<number>, prime: number): Promise<void> {
  try {
    for (;;) {
      const { value, ok } = await from.receive();
      if (!ok) break;
      if (value % prime !== 0) await to.send(value);
    }
  } catch {
    // Closed downstream.
  }
  from.close();
}

async function sieve(primes: number): Promise<void> {
  let ch = new Channel<number>();
  void generate(ch);
  let prime = 0;
  for (let i = 0; i < primes; i++) {
    prime = (await ch.receive()).value as number;
    const next = new Channel<number>();
    void filter(ch, next, prime);
    ch = next;
  }
  ch.close();
  check(prime, 1223);
}

await compare("channel", [
  {
    name: "unbuffered ping-pong, round trip",
    ops: N,
    floor: () => {
      const a = new Handoff<number>();
      const b = new Handoff<number>();
      return pingPong(
        (n) => a.send(n),
        () => b.receive(),
        async () => {
          for (let i = 0; i < N; i++) await b.send(await a.receive());
        },
      );
    },
    ours: () => {
      const a = new Channel<number>();
      const b = new Channel<number>();
      return pingPongChannels(a, b);
    },
    most: 1.15,
    go: [221, 1.5],
  },
  {
    name: "unbuffered stream, per value",
    ops: N,
    floor: () => {
      const ch = new Handoff<number>();
      return stream(
        (n) => ch.send(n),
        () => ch.receive(),
      );
    },
    ours: () => streamChannel(0),
    most: 1.2,
    go: [112, 1],
  },
  {
    name: "buffered(128) stream, awaited both sides",
    ops: N,
    floor: () => {
      const ch = new Buffer<number>(128);
      return stream(
        (n) => ch.send(n),
        () => ch.receive(),
      );
    },
    ours: () => streamChannel(128),
    most: 1.5,
  },
  { name: "buffered(128) stream, try-first both sides", ops: N, ours: () => streamTryFirst(128), go: [35, 0.4] },
  {
    name: "fan-in of 100 senders, per value",
    ops: N,
    floor: () => {
      const ch = new Handoff<number>();
      return stream(
        (n) => ch.send(n),
        () => ch.receive(),
      );
    },
    ours: () => fanIn(100),
    most: 1.25,
    go: [113, 1.5],
  },
  { name: "prime sieve, 200 primes (whole)", ops: 1, ours: () => sieve(200), go: [5.5e6, 1.3] },
]);

async function pingPongChannels(a: Channel<number>, b: Channel<number>): Promise<void> {
  const echoing = (async () => {
    for (let i = 0; i < N; i++) await b.send((await a.receive()).value as number);
  })();
  let sum = 0;
  for (let i = 0; i < N; i++) {
    await a.send(i);
    sum += (await b.receive()).value as number;
  }
  await echoing;
  check(sum, (N * (N - 1)) / 2);
}
