/**
 * One parked wait of every kind that takes a `Cancel`, with the function that grants it. For tests under fake timers.
 */
import { Channel } from "gopark/channel";
import { background, type Cancel, withCancel } from "gopark/context";
import { Group } from "gopark/errgroup";
import { Limiter } from "gopark/rate";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { Cond, KeyedMutex, Mutex, Once, onceValue, RWMutex, WaitGroup } from "gopark/sync";
import { after, sleep, Ticker, Timer } from "gopark/time";
import { Workers } from "gopark/workers";
import { vi } from "vitest";

export interface Waiting {
  readonly promise: Promise<unknown>;
  /** Grants the wait. Does nothing harmful if the wait has ended. */
  grant(): unknown;
  /** The value of the promise then. */
  readonly answer: unknown;
  /** Whether something of the wait is left once it has been rejected. Called before {@link grant}. */
  ghost?(): boolean;
  /** Ends what the test needed besides the wait. Called last. */
  clear?(): unknown;
}

export const waits: Record<string, (cancel: Cancel) => Waiting> = {
  "a receive": (cancel) => {
    const ch = new Channel<number>();
    return {
      promise: ch.receive(cancel),
      grant: () => ch.trySend(7),
      answer: { value: 7, ok: true },
      ghost: () => ch.trySend(0),
    };
  },
  "a receive, granted by a close": (cancel) => {
    const ch = new Channel<number>();
    return { promise: ch.receive(cancel), grant: () => ch.close(), answer: { value: undefined, ok: false } };
  },
  "a send": (cancel) => {
    const ch = new Channel<number>();
    return {
      promise: ch.send(7, cancel),
      grant: () => ch.tryReceive(),
      answer: undefined,
      ghost: () => ch.tryReceive() !== undefined,
    };
  },
  "a send, refused by a close": (cancel) => {
    const ch = new Channel<number>();
    const message = (error: Error) => {
      if (error.message !== "send on closed channel") throw error;
      return error.message;
    };
    return { promise: ch.send(7, cancel).catch(message), grant: () => ch.close(), answer: "send on closed channel" };
  },
  "an iterator's next": (cancel) => {
    const ch = new Channel<number>();
    return {
      promise: ch.values(cancel).next(),
      grant: () => ch.trySend(7),
      answer: { value: 7, done: false },
      ghost: () => ch.trySend(0),
    };
  },
  "an iterator's next, ended by return": (cancel) => {
    const ch = new Channel<number>();
    const values = ch.values(cancel);
    return { promise: values.next(), grant: () => values.return?.(), answer: { value: undefined, done: true } };
  },
  "a select, to receive": (cancel) => {
    const ch = new Channel<number>();
    return {
      promise: select({ before: new Channel(), ch, stop: cancel, behind: new Channel() }).then(unlessStopped),
      grant: () => ch.trySend(7),
      answer: { case: "ch", value: 7, ok: true },
      ghost: () => ch.trySend(0),
    };
  },
  "a select, to send": (cancel) => {
    const ch = new Channel<number>();
    return {
      promise: select({ stop: cancel, sent: ch.sending(7) }).then(unlessStopped),
      grant: () => ch.tryReceive(),
      answer: { case: "sent" },
      ghost: () => ch.tryReceive() !== undefined,
    };
  },
  "a select, granted by the clock": (cancel) => {
    const late = after(10);
    return {
      promise: select({ stop: cancel, late }).then(unlessStopped),
      grant: () => vi.advanceTimersByTime(10),
      answer: { case: "late", value: late.when },
    };
  },
  "an acquire": (cancel) => {
    const sem = new Weighted(1);
    sem.tryAcquire();
    return {
      promise: sem.acquire(cancel),
      grant: () => sem.release(),
      answer: undefined,
      ghost: () => sem.waiting() !== 0,
      clear: () => sem.held() > 0 && sem.release(),
    };
  },
  "a permit": (cancel) => {
    const sem = new Weighted(1);
    sem.tryAcquire();
    return {
      promise: sem.permit(cancel).then((permit) => permit.release()),
      grant: () => sem.release(),
      answer: undefined,
      ghost: () => sem.waiting() !== 0,
    };
  },
  "withPermit's": (cancel) => {
    const sem = new Weighted(1);
    sem.tryAcquire();
    return {
      promise: sem.withPermit(cancel, () => 7),
      grant: () => sem.release(),
      answer: 7,
      ghost: () => sem.waiting() !== 0,
    };
  },
  "a sleep": (cancel) => ({
    promise: sleep(10, cancel),
    grant: () => vi.advanceTimersByTime(10),
    answer: undefined,
  }),
  "a receive from a timer": (cancel) => {
    const timer = new Timer(10);
    return {
      promise: timer.c.receive(cancel).then(({ ok }) => ok),
      grant: () => vi.advanceTimersByTime(10),
      answer: true,
      clear: () => timer.stop(),
    };
  },
  "a receive from a ticker": (cancel) => {
    const ticker = new Ticker(10);
    return {
      promise: ticker.c.receive(cancel).then(({ ok }) => ok),
      grant: () => vi.advanceTimersByTime(10),
      answer: true,
      clear: () => ticker.stop(),
    };
  },
  "a limiter's wait": (cancel) => {
    const limiter = new Limiter(100, 1);
    limiter.allow();
    return {
      promise: limiter.wait(cancel),
      grant: () => vi.advanceTimersByTime(10),
      answer: undefined,
      ghost: () => limiter.tokens() < 0,
    };
  },
  "a group's go": (cancel) => {
    const gate = new Channel<void>();
    const g = new Group();
    g.setLimit(1);
    void g.go(() => gate.receive());
    return {
      promise: g.go(() => {}, cancel),
      grant: () => gate.close(),
      answer: undefined,
      clear: () => g.wait(),
    };
  },
  "a group's wait": (cancel) => {
    const gate = new Channel<void>();
    const g = new Group();
    void g.go(() => gate.receive());
    return { promise: g.wait(cancel), grant: () => gate.close(), answer: undefined, clear: () => g.wait() };
  },
  "a map's update": (cancel) => {
    const gate = new Channel<void>();
    const map = new ShardMap<string, number>();
    const first = map.update("key", () => gate.receive().then(() => 1));
    return {
      promise: map.update("key", (n = 0) => n + 1, cancel),
      grant: () => gate.close(),
      answer: 2,
      clear: () => first,
    };
  },
  "a map's getOrLoad": (cancel) => {
    const gate = new Channel<void>();
    const map = new ShardMap<string, number>();
    return {
      promise: map.getOrLoad("key", () => gate.receive().then(() => 7), cancel),
      grant: () => gate.close(),
      answer: 7,
    };
  },
  "a singleflight group's do": (cancel) => {
    const gate = new Channel<void>();
    const group = new Flights<string, number>();
    return {
      promise: group.do("key", () => gate.receive().then(() => 7), cancel),
      grant: () => gate.close(),
      answer: { value: 7, shared: false },
    };
  },
  "a mutex's lock": (cancel) => {
    const mu = new Mutex();
    mu.tryLock();
    const promise = mu.lock(cancel).then(() => mu.unlock());
    return { promise, grant: () => mu.unlock(), answer: undefined };
  },
  "a mutex's withLock": (cancel) => {
    const mu = new Mutex();
    mu.tryLock();
    return { promise: mu.withLock(() => 7, cancel), grant: () => mu.unlock(), answer: 7 };
  },
  "a lock to write, behind a reader": (cancel) => {
    const rw = new RWMutex();
    rw.tryRLock();
    const promise = rw.guard(cancel).then((guard) => guard.unlock());
    return {
      promise,
      grant: () => rw.rUnlock(),
      answer: undefined,
      ghost: () => !rw.tryRLock() || rw.rUnlock() !== undefined,
    };
  },
  "a lock to read": (cancel) => {
    const rw = new RWMutex();
    rw.tryLock();
    const promise = rw.rGuard(cancel).then((guard) => guard.unlock());
    return { promise, grant: () => rw.unlock(), answer: undefined };
  },
  "a lock of a key": (cancel) => {
    const keyed = new KeyedMutex<string>();
    keyed.tryLock("key");
    const promise = keyed.guard("key", cancel).then((guard) => guard.unlock());
    return { promise, grant: () => keyed.unlock("key"), answer: undefined };
  },
  "a wait group's wait": (cancel) => {
    const wg = new WaitGroup();
    wg.add(1);
    return { promise: wg.wait(cancel), grant: () => wg.done(), answer: undefined };
  },
  "a Once's do, behind another": (cancel) => {
    const gate = new Channel<void>();
    const once = new Once();
    const first = once.do(() => gate.receive());
    return { promise: once.do(() => {}, cancel), grant: () => gate.close(), answer: undefined, clear: () => first };
  },
  "a call of a onceValue's function, behind another": (cancel) => {
    const gate = new Channel<void>();
    const once = onceValue(() => gate.receive().then(() => 7));
    const first = once();
    return { promise: once(cancel), grant: () => gate.close(), answer: 7, clear: () => first };
  },
  "a wait of a Cond": (cancel) => {
    const mu = new Mutex();
    const cond = new Cond(mu);
    mu.tryLock();
    return { promise: cond.wait(cancel), grant: () => cond.signal(), answer: undefined, clear: () => mu.unlock() };
  },
  "a submit that waits for a slot": (cancel) => {
    const pool = new Workers(1);
    const gate = new Channel<void>();
    const first = pool.submit(() => gate.receive());
    return {
      promise: pool.submit(() => 7, { cancel }),
      grant: () => gate.close(),
      answer: 7,
      ghost: () => pool.waiting() !== 0,
      clear: () => first,
    };
  },
  "a submit whose task runs": (cancel) => {
    const pool = new Workers(1);
    const gate = new Channel<void>();
    return {
      promise: pool.submit(() => gate.receive().then(() => 7), { cancel }),
      grant: () => gate.close(),
      answer: 7,
      clear: () => pool.idle(),
    };
  },
  "a wait for idle workers": (cancel) => {
    const pool = new Workers(1);
    const gate = new Channel<void>();
    const task = pool.submit(() => gate.receive());
    return { promise: pool.idle(cancel), grant: () => gate.close(), answer: undefined, clear: () => task };
  },
  "a release of workers": (cancel) => {
    const pool = new Workers(1);
    const gate = new Channel<void>();
    const task = pool.submit(() => gate.receive());
    return { promise: pool.release(cancel), grant: () => gate.close(), answer: undefined, clear: () => task };
  },
  "a wait for another context's done channel": (cancel) => {
    const other = withCancel(background());
    return {
      promise: (other.ctx.done() as Channel<never>).receive(cancel),
      grant: () => other.cancel(),
      answer: { value: undefined, ok: false },
    };
  },
};

/** The result of a select. Throws if its cancel ended, as the other waits reject. */
function unlessStopped<A extends { readonly case: string; readonly value?: unknown }>(answer: A): A {
  if (answer.case === "stop") throw answer.value;
  return answer;
}
