/**
 * Foreign contexts and signals all of whose functions and properties are traps: whichever of them throws first, the
 * wait rejects with that error or goes on, and the call never throws. And foreign objects that act on the source of the
 * wait while it is being parked.
 */
import { Channel } from "gopark/channel";
import type { Cancel } from "gopark/context";
import { counters } from "gopark/leak";
import { select } from "gopark/select";
import { Weighted } from "gopark/semaphore";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { aliveSince } from "./support/alive.ts";
import { ForeignContext, foreign, foreignSignal, observed } from "./support/foreign.ts";
import { collectReported, reportsDue } from "./support/reported.ts";
import { turns } from "./support/turn.ts";
import { type Waiting, waits } from "./support/waits.ts";
import { watch } from "./support/watch.ts";

let before: Record<string, number>;

beforeEach(() => {
  vi.useFakeTimers();
  before = counters();
});

const doom = new Error("doom");
const names = Object.keys(waits);
const begin = (name: string, cancel: Cancel): Waiting => (waits[name] as (cancel: Cancel) => Waiting)(cancel);

const sources: Record<string, () => Cancel> = {
  "a foreign context": () => new ForeignContext(),
  "a foreign context without afterFunc": () => Object.assign(new ForeignContext(), { afterFunc: undefined }),
  "a foreign signal": () => foreignSignal().signal,
};

describe.each(Object.keys(sources))("%s whose n-th touch throws", (source) => {
  const made = () => (sources[source] as () => Cancel)();

  /** Parks the wait and lets it be granted while the n-th touch of its cancel throws. Returns how many there were. */
  async function touching(name: string, n: number): Promise<number> {
    let touches = 0;
    let granting = false;
    const during: string[] = [];
    const cancel = observed(made(), (what) => {
      if (granting) during.push(what);
      if (++touches === n) throw doom;
    });
    const { promise, grant, answer, ghost, clear } = begin(name, cancel);
    const waiting = watch(promise);
    await turns(2);
    if (waiting.state === "rejected" && ghost !== undefined) expect(ghost(), `a ghost at touch ${n}`).toBe(false);
    granting = true;
    grant();
    granting = false;
    expect(during, `touched by the granter, at touch ${n}`).toEqual([]);
    await promise.catch(() => {});
    await clear?.();
    await turns(2);
    if (waiting.state === "rejected") expect(waiting.reason).toBe(doom);
    else expect(waiting.value, `at touch ${n}`).toEqual(answer);
    expect(aliveSince(before), `alive after touch ${n}`).toEqual({});
    return touches;
  }

  test.each(names)("%s", async (name) => {
    const reported = collectReported();
    const most = await touching(name, Number.POSITIVE_INFINITY);
    expect(most).toBeGreaterThan(2);
    for (let n = 1; n <= most; n++) await touching(name, n);
    await reportsDue();
    expect(reported.filter((error) => error !== doom)).toEqual([]);
  });
});

/** Contexts and signals that act as soon as a wait begins to listen. */
const listeners: Record<string, (act: () => void) => Cancel> = {
  "a context whose afterFunc": (act) =>
    foreign({
      afterFunc: () => {
        act();
        return () => true;
      },
    }),
  "a signal whose addEventListener": (act) => foreignSignal({ addEventListener: act }).signal,
};

describe.each(Object.keys(listeners))("%s", (source) => {
  const acting = (act: () => void) => (listeners[source] as (act: () => void) => Cancel)(act);

  test("sends on a channel finds the receive already parked there", async () => {
    const ch = new Channel<number>();
    let sent: boolean | undefined;
    const received = ch.receive(
      acting(() => {
        sent = ch.trySend(1);
      }),
    );
    expect(await received).toEqual({ value: 1, ok: true });
    expect(sent).toBe(true);
  });

  test("receives from a channel stands behind the receive that has come before", async () => {
    const ch = new Channel<number>();
    const received: unknown[] = [];
    const first = ch.receive(
      acting(() => {
        void ch.receive().then(({ value }) => received.push(["inner", value]));
      }),
    );
    void first.then(({ value }) => received.push(["outer", value]));
    await turns(1);
    expect([ch.trySend(1), ch.trySend(2), ch.trySend(3)]).toEqual([true, true, false]);
    await turns(1);
    expect(received).toEqual([
      ["outer", 1],
      ["inner", 2],
    ]);
  });

  test("takes what a send offers finds it there, and those behind in their order", async () => {
    const ch = new Channel<number>();
    let taken: unknown;
    const sends = [
      ch.send(
        1,
        acting(() => {
          taken = ch.tryReceive();
        }),
      ),
      ch.send(2),
    ].map(watch);
    await turns(1);
    expect(taken).toEqual({ value: 1, ok: true });
    expect(ch.tryReceive()).toEqual({ value: 2, ok: true });
    await turns(1);
    expect(sends.map(({ state }) => state)).toEqual(["fulfilled", "fulfilled"]);
    expect(ch.tryReceive()).toBeUndefined();
  });

  test("closes the channel ends the receive and the iterator that are about to wait", async () => {
    const ch = new Channel<number>();
    expect(await ch.receive(acting(() => ch.close()))).toEqual({ value: undefined, ok: false });
    const other = new Channel<number>();
    expect(await other.values(acting(() => other.close())).next()).toEqual({ value: undefined, done: true });
  });

  test("releases a unit gives it to the acquire that is about to wait", async () => {
    const sem = new Weighted(1);
    sem.tryAcquire();
    await sem.acquire(acting(() => sem.release()));
    expect([sem.held(), sem.waiting()]).toEqual([1, 0]);
    sem.release();
  });

  test.each(["first", "in the middle", "last"])(
    "sends to a case of a select, standing %s, is received",
    async (where) => {
      const ch = new Channel<number>();
      const other = new Channel<number>();
      let sent: boolean | undefined;
      const stop = acting(() => {
        sent = ch.trySend(1);
      });
      const cases = {
        first: { stop, ch, other },
        "in the middle": { ch, stop, other },
        last: { other, ch, stop },
      }[where] as { ch: Channel<number>; stop: Cancel; other: Channel<number> };
      expect(await select(cases)).toEqual({ case: "ch", value: 1, ok: true });
      expect(sent).toBe(true);
      await turns(1);
      expect([ch.trySend(2), other.trySend(3)], "no wait is left in a queue").toEqual([false, false]);
      expect(aliveSince(before)).toEqual({});
    },
  );

  test("ends the select that is about to wait: it listens to no case behind", async () => {
    const ch = new Channel<number>();
    const afterFunc = vi.fn(() => () => true);
    const stop = acting(() => void ch.trySend(1));
    expect(await select({ ch, stop, behind: foreign({ afterFunc }) })).toEqual({ case: "ch", value: 1, ok: true });
    expect(afterFunc).not.toHaveBeenCalled();
  });

  test("sends once while several waits on it park, and is asked once", async () => {
    const ch = new Channel<number>();
    const act = vi.fn(() => void ch.trySend(1));
    const cancel = acting(act);
    const receives = [ch.receive(cancel), ch.receive(cancel)].map(watch);
    await turns(2);
    expect(receives.map(({ value }) => value)).toEqual([{ value: 1, ok: true }, undefined]);
    expect(act).toHaveBeenCalledTimes(1);
    expect(ch.trySend(2)).toBe(true);
    await turns(1);
  });
});

test("a signal whose `aborted` acts when it is read a second time has no part in what is being parked", async () => {
  const ch = new Channel<number>();
  const { signal } = foreignSignal();
  let reads = 0;
  const sent: boolean[] = [];
  Object.defineProperty(signal, "aborted", {
    get: () => {
      if (++reads > 1) sent.push(ch.trySend(reads));
      return false;
    },
  });
  const other = new Channel<number>();
  const selected = watch(select({ ch, signal, other }));
  await turns(1);
  const more = sent.includes(true) ? [] : [ch.trySend(100)];
  await turns(1);
  expect(selected.value).toMatchObject({ case: "ch", ok: true });
  expect([...sent, ...more].filter((ok) => ok)).toEqual([true]);
  expect([ch.trySend(0), other.trySend(0)]).toEqual([false, false]);
});
