/**
 * The floors: the hand-offs of channels and semaphores, written with bare promises. They resolve to the same object as
 * a channel, a value and whether there is one, because an object costs more than a number.
 */

const DONE = Promise.resolve();

export type Received<T> = { readonly value: T; readonly ok: true } | { readonly value: undefined; readonly ok: false };

/** An unbuffered hand-off for one sender and one receiver. Closed by the sender. */
export class Handoff<T> {
  private value: T | undefined;
  private closed = false;
  private sent: (() => void) | undefined;
  private received: ((received: Received<T>) => void) | undefined;

  send(value: T): Promise<void> {
    const { received } = this;
    if (received !== undefined) {
      this.received = undefined;
      received({ value, ok: true });
      return DONE;
    }
    this.value = value;
    return new Promise((resolve) => {
      this.sent = resolve;
    });
  }

  receive(): Promise<Received<T>> {
    const { sent } = this;
    if (sent !== undefined) {
      this.sent = undefined;
      sent();
      return Promise.resolve({ value: this.value as T, ok: true });
    }
    if (this.closed) return Promise.resolve({ value: undefined, ok: false });
    return new Promise((resolve) => {
      this.received = resolve;
    });
  }

  close(): void {
    this.closed = true;
    this.received?.({ value: undefined, ok: false });
  }
}

export type PickedValue<T> = { readonly case: "a" | "b"; readonly value: T; readonly ok: true };

/**
 * Two unbuffered hand-offs with a sender each, and one receiver that takes from the one that is ready, at random if
 * both are.
 */
export class TwoHandoffs<T> {
  private readonly waiting: Record<"a" | "b", { readonly value: T; readonly sent: () => void } | undefined> = {
    a: undefined,
    b: undefined,
  };
  private received: ((picked: PickedValue<T>) => void) | undefined;

  send(side: "a" | "b", value: T): Promise<void> {
    const { received } = this;
    if (received !== undefined) {
      this.received = undefined;
      received({ case: side, value, ok: true });
      return DONE;
    }
    return new Promise((sent) => {
      this.waiting[side] = { value, sent };
    });
  }

  receive(): Promise<PickedValue<T>> {
    const { a, b } = this.waiting;
    const side = a !== undefined && (b === undefined || Math.random() < 0.5) ? "a" : "b";
    const sender = this.waiting[side];
    if (sender !== undefined) {
      this.waiting[side] = undefined;
      sender.sent();
      return Promise.resolve({ case: side, value: sender.value, ok: true });
    }
    return new Promise((resolve) => {
      this.received = resolve;
    });
  }
}

/** A buffered hand-off for one sender and one receiver: a ring buffer, and promises only when it is full or empty. */
export class BufferedHandoff<T> {
  private readonly slots: (T | undefined)[];
  private head = 0;
  private size = 0;
  private sender: (() => void) | undefined;
  private receiver: ((received: Received<T>) => void) | undefined;

  constructor(capacity: number) {
    this.slots = new Array(capacity);
  }

  trySend(value: T): boolean {
    const { receiver } = this;
    if (receiver !== undefined) {
      this.receiver = undefined;
      receiver({ value, ok: true });
      return true;
    }
    if (this.size === this.slots.length) return false;
    this.slots[(this.head + this.size++) % this.slots.length] = value;
    return true;
  }

  send(value: T): Promise<void> {
    if (this.trySend(value)) return DONE;
    return new Promise<void>((resolve) => {
      this.sender = resolve;
    }).then(() => this.send(value));
  }

  tryReceive(): Received<T> | undefined {
    return this.size === 0 ? undefined : { value: this.take(), ok: true };
  }

  receive(): Promise<Received<T>> {
    if (this.size === 0) {
      return new Promise((resolve) => {
        this.receiver = resolve;
      });
    }
    return Promise.resolve({ value: this.take(), ok: true });
  }

  private take(): T {
    const value = this.slots[this.head] as T;
    this.slots[this.head] = undefined;
    this.head = (this.head + 1) % this.slots.length;
    this.size--;
    const { sender } = this;
    this.sender = undefined;
    sender?.();
    return value;
  }
}

/** A linked queue. */
class Fifo<W extends { next: W | undefined }> {
  private front: W | undefined;
  private back: W | undefined;

  push(waiter: W): void {
    if (this.back === undefined) this.front = waiter;
    else this.back.next = waiter;
    this.back = waiter;
  }

  shift(): W | undefined {
    const { front } = this;
    if (front === undefined) return undefined;
    this.front = front.next;
    if (this.front === undefined) this.back = undefined;
    front.next = undefined; // Or, once it is in the old generation, it would keep all later waiters alive.
    return front;
  }
}

interface Sender<T> {
  readonly value: T;
  readonly sent: () => void;
  next: Sender<T> | undefined;
}

interface Receiver<T> {
  readonly received: (received: Received<T>) => void;
  next: Receiver<T> | undefined;
}

/** An unbuffered hand-off for any number of senders and receivers: each side has a queue. */
export class QueuedHandoff<T> {
  private readonly senders = new Fifo<Sender<T>>();
  private readonly receivers = new Fifo<Receiver<T>>();

  send(value: T): Promise<void> {
    const receiver = this.receivers.shift();
    if (receiver !== undefined) {
      receiver.received({ value, ok: true });
      return DONE;
    }
    return new Promise((sent) => this.senders.push({ value, sent, next: undefined }));
  }

  receive(): Promise<Received<T>> {
    const sender = this.senders.shift();
    if (sender !== undefined) {
      sender.sent();
      return Promise.resolve({ value: sender.value, ok: true });
    }
    return new Promise((received) => this.receivers.push({ received, next: undefined }));
  }
}

/**
 * The least that a group of tasks must do: start each in a microtask of its own, count them, keep the first error, and
 * settle when all have ended.
 */
export class BareGroup {
  private running = 0;
  private failure: { readonly error: unknown } | undefined;
  private ended: { readonly resolve: () => void; readonly reject: (error: unknown) => void } | undefined;

  go(task: () => Promise<void>): Promise<void> {
    this.running++;
    void this.run(task);
    return DONE;
  }

  wait(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.ended = { resolve, reject };
      this.conclude();
    });
  }

  private async run(task: () => Promise<void>): Promise<void> {
    try {
      await DONE;
      await task();
    } catch (error) {
      this.failure ??= { error };
    }
    this.running--;
    this.conclude();
  }

  private conclude(): void {
    if (this.running > 0) return;
    if (this.failure === undefined) this.ended?.resolve();
    else this.ended?.reject(this.failure.error);
  }
}

interface Waiter {
  readonly granted: () => void;
  next: Waiter | undefined;
}

/** A counter and a queue. */
export class BareSemaphore {
  private readonly waiting = new Fifo<Waiter>();
  private free: number;

  constructor(size: number) {
    this.free = size;
  }

  tryAcquire(): boolean {
    if (this.free === 0) return false;
    this.free--;
    return true;
  }

  acquire(): Promise<void> {
    if (this.tryAcquire()) return DONE;
    return new Promise((granted) => this.waiting.push({ granted, next: undefined }));
  }

  release(): void {
    const waiter = this.waiting.shift();
    if (waiter === undefined) this.free++;
    else waiter.granted();
  }
}
