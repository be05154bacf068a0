/**
 * Foreign contexts and signals that throw while a wait begins or stops listening to them: only their own wait is
 * affected, and no other wait, queue, counter or timer.
 */
import { Channel } from "gopark/channel";
import { afterFunc, background, type Cancel, withCancel, withTimeout } from "gopark/context";
import { Group } from "gopark/errgroup";
import { counters } from "gopark/leak";
import { Limiter } from "gopark/rate";
import { select, trySelect } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { ShardMap } from "gopark/shardmap";
import { Group as Flights } from "gopark/singleflight";
import { sleep } from "gopark/time";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { aliveSince } from "./support/alive.ts";
import { foreign, foreignSignal } from "./support/foreign.ts";
import { collectReported, reportsDue } from "./support/reported.ts";
import { turns } from "./support/turn.ts";
import { type Waiting, waits } from "./support/waits.ts";
import { watch } from "./support/watch.ts";

const doom = new Error("doom");

function thrower(): never {
  throw doom;
}

let before: Record<string, number>;

beforeEach(() => {
  vi.useFakeTimers();
  before = counters();
});

/** Sources whose listeners cannot be taken off; `stopped` is called first. */
const unstoppable: Record<string, (stopped: () => void) => Cancel> = {
  "a context whose stop function throws": (stopped) =>
    foreign({
      afterFunc: () => () => {
        stopped();
        return thrower();
      },
    }),
  "a signal whose removeEventListener throws": (stopped) =>
    foreignSignal({
      removeEventListener: () => {
        stopped();
        thrower();
      },
    }).signal,
};

/** Sources that cannot be listened to. */
const deaf: Record<string, () => Cancel> = {
  "a context whose afterFunc throws": () => foreign({ afterFunc: thrower }),
  "a context whose done channel cannot be received from": () => {
    const done = Object.assign(new Channel<never>(), { receive: thrower });
    return Object.assign(foreign({ done: () => done }), { afterFunc: undefined });
  },
  "a signal whose addEventListener throws": () => foreignSignal({ addEventListener: thrower }).signal,
};

const names = Object.keys(waits);

describe.each(Object.keys(unstoppable))("%s", (source) => {
  const begin = (wait: string, stopped: () => void): Waiting =>
    (waits[wait] as (cancel: Cancel) => Waiting)((unstoppable[source] as (stopped: () => void) => Cancel)(stopped));

  test.each(names)("does not disturb the granter of %s, and its error is reported", async (wait) => {
    const reported = collectReported();
    let granting = false;
    const stops: boolean[] = [];
    const { promise, grant, answer, clear } = begin(wait, () => stops.push(granting));
    const waiting = watch(promise);
    await turns(2);
    expect(waiting.state).toBe("pending");
    granting = true;
    grant();
    granting = false;
    await promise;
    await clear?.();
    await reportsDue();
    expect(waiting.value).toEqual(answer);
    expect(stops, "never on the granter's stack").toEqual([false]);
    expect(reported).toEqual([doom]);
    expect(aliveSince(before)).toEqual({});
  });

  test("does not keep a cancel below it from reaching the whole tree", async () => {
    const reported = collectReported();
    const { ctx, cancel } = withCancel((unstoppable[source] as (stopped: () => void) => Cancel)(() => {}));
    const below = withCancel(ctx);
    const waiting = [ctx, below.ctx].map((c) => watch(new Channel<number>().receive(c)));
    await turns(1);
    cancel();
    await reportsDue();
    expect(waiting.map(({ reason }) => reason)).toEqual([ctx.err(), ctx.err()]);
    expect(below.ctx.err()).toBe(ctx.err());
    expect(reported).toEqual([doom]);
  });

  test("does not keep afterFunc from being taken back", async () => {
    const reported = collectReported();
    const ran = vi.fn();
    const stop = afterFunc(
      (unstoppable[source] as (stopped: () => void) => Cancel)(() => {}),
      ran,
    );
    await turns(1);
    expect(stop()).toBe(true);
    expect(stop()).toBe(false);
    await reportsDue();
    expect(ran).not.toHaveBeenCalled();
    expect(reported).toEqual([doom]);
  });

  test("does not keep others from being served in the same call", async () => {
    collectReported();
    const bad = (unstoppable[source] as (stopped: () => void) => Cancel)(() => {});

    const ch = new Channel<number>();
    const receives = [ch.receive(bad), ch.receive(), ch.receive(bad), ch.receive()].map(watch);
    ch.close();

    const sem = new Weighted(2);
    sem.tryAcquire(2);
    const acquires = [sem.acquire(bad), sem.acquire(background())].map(watch);
    sem.release(2);

    const sleeps = [sleep(5, bad), sleep(5), sleep(6)].map(watch);
    const { ctx } = withTimeout(background(), 7);
    vi.advanceTimersByTime(7);

    await reportsDue();
    expect(receives.map(({ value }) => value)).toEqual(Array(4).fill({ value: undefined, ok: false }));
    expect(acquires.map(({ state }) => state)).toEqual(["fulfilled", "fulfilled"]);
    expect([sem.held(), sem.waiting()]).toEqual([2, 0]);
    expect(sleeps.map(({ state }) => state)).toEqual(["fulfilled", "fulfilled", "fulfilled"]);
    expect(ctx.err()).toBeDefined();
    sem.release(2);
  });

  test("loses no value that was handed over", async () => {
    collectReported();
    const bad = (unstoppable[source] as (stopped: () => void) => Cancel)(() => {});
    const ch = new Channel<string>();
    const sent = watch(ch.send("order 1", bad));
    expect(ch.tryReceive()).toEqual({ value: "order 1", ok: true });
    const received = watch(ch.receive(bad));
    expect(ch.trySend("order 2")).toBe(true);
    const buffered = new Channel<string>(1);
    buffered.trySend("order 3");
    const behind = watch(buffered.send("order 4", bad));
    expect(buffered.tryReceive()).toEqual({ value: "order 3", ok: true });
    expect(buffered.tryReceive()).toEqual({ value: "order 4", ok: true });
    await reportsDue();
    expect([sent.state, received.value, behind.state]).toEqual([
      "fulfilled",
      { value: "order 2", ok: true },
      "fulfilled",
    ]);
  });
});

describe.each(Object.keys(deaf))("%s", (source) => {
  const cancel = () => (deaf[source] as () => Cancel)();

  test.each(names)("refuses %s with that error, and leaves nothing of it behind", async (wait) => {
    const { promise, grant, ghost, clear } = (waits[wait] as (cancel: Cancel) => Waiting)(cancel());
    await expect(promise).rejects.toBe(doom);
    if (ghost !== undefined) expect(ghost(), "something is left").toBe(false);
    grant();
    await clear?.();
    await turns(2);
    expect(aliveSince(before)).toEqual({});
  });

  test("refuses no wait but its own", async () => {
    const ch = new Channel<number>();
    const first = watch(ch.receive());
    const bad = watch(ch.receive(cancel()));
    const last = watch(ch.receive());
    await turns(2);
    expect([ch.trySend(1), ch.trySend(2), ch.trySend(3)]).toEqual([true, true, false]);
    await turns(2);
    expect([first.value, bad.reason, last.value]).toEqual([{ value: 1, ok: true }, doom, { value: 2, ok: true }]);
  });

  test("does not hold back the waiters behind it", async () => {
    const sem = new Weighted(2);
    sem.tryAcquire();
    const bad = watch(sem.acquire(cancel(), 2));
    const small = watch(sem.acquire(background(), 1));
    await turns(2);
    expect([bad.reason, small.state]).toEqual([doom, "fulfilled"]);
    sem.release(2);
  });
});

test("a foreign source is unsubscribed from only if no wait uses it some microtasks later", async () => {
  const added = vi.fn();
  const removed = vi.fn();
  const { signal } = foreignSignal();
  const { addEventListener, removeEventListener } = signal;
  Object.assign(signal, {
    addEventListener: (...args: Parameters<typeof addEventListener>) => {
      added();
      addEventListener.apply(signal, args);
    },
    removeEventListener: (...args: Parameters<typeof removeEventListener>) => {
      removed();
      removeEventListener.apply(signal, args);
    },
  });
  const ch = new Channel<number>();
  const receives: Promise<unknown>[] = [];
  for (let i = 0; i < 3; i++) {
    receives.push(ch.receive(signal));
    if (i === 0) await turns(1);
    ch.trySend(i);
  }
  expect([added.mock.calls.length, removed.mock.calls.length]).toEqual([1, 0]);
  await Promise.all(receives);
  await turns(2);
  expect([added.mock.calls.length, removed.mock.calls.length]).toEqual([1, 1]);
});

describe("a foreign context refuses every operation with the error that it throws in", () => {
  test.each(["err", "done", "value", "deadline"])("%s", async (method) => {
    const bad = () => foreign({ [method]: thrower });
    const sem = new Weighted(1);
    const limiter = new Limiter(1, 1);
    const ch = new Channel<number>(1);
    ch.trySend(1);
    const g = new Group();
    for (const promise of [
      ch.receive(bad()),
      ch.send(1, bad()),
      ch.values(bad()).next(),
      select({ ch, bad: bad() }),
      sem.acquire(bad()),
      sem.permit(bad()),
      sleep(1, bad()),
      limiter.wait(bad()),
      g.go(() => {}, bad()),
      g.wait(bad()),
      new ShardMap<string, number>().update("key", () => 1, bad()),
      new ShardMap<string, number>().getOrLoad("key", () => 1, bad()),
      new Flights<string, number>().do("key", () => 1, bad()),
    ]) {
      await expect(promise).rejects.toBe(doom);
    }
    expect(() => trySelect({ ch, bad: bad() })).toThrow(doom);
    expect([ch.len(), limiter.tokens(), sem.held()]).toEqual([1, 1, 0]);
    await g.wait();
    expect(aliveSince(before)).toEqual({});
  });
});

test("a signal whose reason throws ends all waits on it with that error", async () => {
  const { signal, abort } = foreignSignal();
  Object.defineProperty(signal, "reason", { get: thrower });
  const ch = new Channel<number>();
  const waiting = [ch.receive(signal), sleep(5, signal), new Channel<number>().send(1, signal)].map(watch);
  abort();
  await turns(2);
  expect(waiting.map(({ reason }) => reason)).toEqual([doom, doom, doom]);
  expect(ch.trySend(1)).toBe(false);
});

test("a loop of waits listens once, though a function stands between it and the wait; after it nothing listens", async () => {
  let listening = 0;
  let begun = 0;
  const { signal } = foreignSignal();
  const { addEventListener, removeEventListener } = signal;
  Object.assign(signal, {
    addEventListener(...args: Parameters<typeof addEventListener>) {
      listening++;
      begun++;
      addEventListener.apply(signal, args);
    },
    removeEventListener(...args: Parameters<typeof removeEventListener>) {
      listening--;
      removeEventListener.apply(signal, args);
    },
  });
  const ch = new Channel<number>();
  const next = async () => (await ch.receive(signal)).value;
  for (let i = 0; i < 20; i++) {
    const waiting = next();
    void turns(1).then(() => ch.trySend(i));
    expect(await waiting).toBe(i);
  }
  await turns(1);
  expect([begun, listening]).toEqual([1, 0]);
});

test("a select that is over when it has begun to listen to one signal does not begin to listen to the next", async () => {
  const log: string[] = [];
  const first = foreignSignal({
    addEventListener() {
      log.push("first");
      ch.close();
    },
  });
  const second = foreignSignal({
    addEventListener() {
      log.push("second");
    },
  });
  const ch = new Channel<number>();
  const selected = await select({ ch, first: first.signal, second: second.signal });
  expect([selected.case, log]).toEqual(["ch", ["first"]]);
});
