/** Go's own tests of select. */
import { Channel, ClosedChannelError } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { go } from "gopark/go";
import { find, track, verifyNone } from "gopark/leak";
import { type Selectable, select, trySelect } from "gopark/select";
import { Ticker } from "gopark/time";
import { afterEach, describe, expect, test, vi } from "vitest";
import { random } from "./support/random.ts";
import { turn, turns } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

afterEach(() => track("full"));

/** select3: each operation on each kind of channel, alone in a select. */
describe("select3", () => {
  const full = (): Channel<number> => {
    const ch = new Channel<number>(1);
    ch.trySend(1);
    return ch;
  };
  const closed = (ch: Channel<number>): Channel<number> => {
    ch.close();
    return ch;
  };
  const send = (ch: Channel<number>): Selectable => ch.sending(2);
  const receive = (ch: Channel<number>): Selectable => ch;
  const nil = (): Selectable => null;

  type Does = "blocks" | "throws" | "proceeds";
  const table: [string, () => Selectable, Does][] = [
    ["a nil channel", nil, "blocks"],
    ["sending to an unbuffered one", () => send(new Channel()), "blocks"],
    ["receiving from an unbuffered one", () => receive(new Channel()), "blocks"],
    ["receiving from an empty one", () => receive(new Channel(10)), "blocks"],
    ["sending to an empty one", () => send(new Channel(10)), "proceeds"],
    ["receiving from a full one", () => receive(full()), "proceeds"],
    ["sending to a full one", () => send(full()), "blocks"],
    ["receiving from a closed unbuffered one", () => receive(closed(new Channel())), "proceeds"],
    ["sending to a closed unbuffered one", () => send(closed(new Channel())), "throws"],
    ["receiving from a closed empty one", () => receive(closed(new Channel(10))), "proceeds"],
    ["sending to a closed empty one", () => send(closed(new Channel(10))), "throws"],
    ["receiving from a closed full one", () => receive(closed(full())), "proceeds"],
    ["sending to a closed full one", () => send(closed(full())), "throws"],
  ];

  test.each(table)("%s", async (_, make, does) => {
    const { ctx, cancel } = withCancel(background());
    if (does === "throws") expect(() => trySelect({ it: make() })).toThrow(ClosedChannelError);
    else expect(trySelect({ it: make() }) === undefined).toBe(does === "blocks");

    const waiting = watch(select({ it: make(), stop: ctx }));
    await turn();
    const state = { blocks: "pending", throws: "rejected", proceeds: "fulfilled" }[does];
    expect(waiting.state).toBe(state);
    cancel();
  });

  test("a select without cases blocks for ever: the collector proves it", async () => {
    expect(trySelect({})).toBeUndefined();
    const waiting = (() => watch(select({ a: null, b: undefined })))();
    await turns(3);
    expect(waiting.state).toBe("pending");
    expect(await collectUntil(() => find().some((leak) => leak.proved))).toBe(true);
    await expect(verifyNone()).rejects.toThrow("found unexpected leaks: 1 select (no cases)");
  });
});

test.each([0, 10])(
  "SelfSelect, capacity %d: a select that sends and receives does not exchange values with itself",
  async (capacity) => {
    const EACH = 1000;
    const ch = new Channel<number>(capacity);
    const task = (me: number) =>
      go(async () => {
        let received = 0;
        for (let i = 0; i < EACH; i++) {
          const s = await select(me === 0 ? { out: ch.sending(me), in: ch } : { in: ch, out: ch.sending(me) });
          if (s.case === "out") continue;
          if (capacity === 0) expect(s).toEqual({ case: "in", value: 1 - me, ok: true });
          received++;
        }
        return received;
      });
    const [a, b] = await Promise.all([task(0), task(1)]);
    expect(a + b + ch.len()).toBe(2 * EACH - (a + b));
  },
);

test("SelectDuplicateChannel: one channel in several cases; the losers leave its queue", async () => {
  const c = new Channel<number>();
  const d = new Channel<number>();
  const e = new Channel<number>();
  const one = select({ a: c, b: c, d });
  const two = select({ e });
  const three = watch(c.receive());
  d.trySend(7);
  e.trySend(8);
  expect(await one).toEqual({ case: "d", value: 7, ok: true });
  expect(await two).toEqual({ case: "e", value: 8, ok: true });
  expect(c.trySend(42)).toBe(true);
  await turn();
  expect(three.value).toEqual({ value: 42, ok: true });
});

test("select4: a ready case is taken at once, and an idle channel beside it is left alone", async () => {
  const ready = new Channel<number>(1);
  const idle = new Channel<number>();
  ready.trySend(42);
  expect(await select({ idle, ready })).toEqual({ case: "ready", value: 42, ok: true });
  expect([ready.len(), idle.trySend(1)]).toEqual([0, false]);
});

describe("nonblock: a select that never waits", () => {
  test.each([0, 1])("capacity %d", async (capacity) => {
    const ch = new Channel<string>(capacity);
    const receive = () => trySelect({ ch });
    const send = (value: string) => trySelect({ sent: ch.sending(value) });
    const value = (v: string) => ({ case: "ch", value: v, ok: true });

    expect(receive()).toBeUndefined();
    for (let i = 0; i < capacity; i++) expect(send("buffered")).toEqual({ case: "sent" });
    expect(send("one too many")).toBeUndefined();
    for (let i = 0; i < capacity; i++) expect(receive()).toEqual(value("buffered"));
    expect(receive()).toBeUndefined();

    const receiver = watch(ch.receive());
    await turn();
    expect(send("for who waits")).toEqual({ case: "sent" });
    await turn();
    expect(receiver.value).toEqual({ value: "for who waits", ok: true });

    for (let i = 0; i < capacity; i++) send("before");
    const sender = watch(ch.send("from who waits"));
    await turn();
    for (let i = 0; i < capacity; i++) expect(receive()).toEqual(value("before"));
    expect(receive()).toEqual(value("from who waits"));
    await turn();
    expect(sender.state).toBe("fulfilled");
  });

  test("is taken by a parked select, and takes from one", async () => {
    const ch = new Channel<string>();
    const receiving = select({ ch });
    expect(trySelect({ sent: ch.sending("to") })).toEqual({ case: "sent" });
    const sending = select({ sent: ch.sending("from") });
    expect(trySelect({ ch })).toEqual({ case: "ch", value: "from", ok: true });
    expect(await Promise.all([receiving, sending])).toEqual([{ case: "ch", value: "to", ok: true }, { case: "sent" }]);
  });
});

test("ChanSendInterface: a channel of several types takes each, by identity, whichever case sends it", async () => {
  const date = new Date(0);
  const map = new Map();
  const ch = new Channel<Date | Map<string, number>>(1);
  await ch.send(date);
  const cases = { date: ch.sending(date), map: ch.sending(map) };
  expect(trySelect(cases)).toBeUndefined();
  expect(ch.tryReceive()?.value).toBe(date);
  const s = await select(cases);
  expect(ch.tryReceive()?.value).toBe(s.case === "date" ? date : map);
});

test("select5: each case is evaluated once, in the order of the source, whether or not select parks", async () => {
  for (const ready of [true, false]) {
    const order: string[] = [];
    const ch = new Channel<number>(1);
    const cases = Object.defineProperties(
      {},
      Object.fromEntries(
        ["c", "a", "b"].map((name) => [
          name,
          {
            enumerable: true,
            get() {
              order.push(name);
              return name === "b" ? ch : null;
            },
          },
        ]),
      ),
    ) as Record<string, Channel<number> | null>;
    if (ready) ch.trySend(1);
    const s = select(cases);
    if (!ready) ch.trySend(1);
    expect(await s).toEqual({ case: "b", value: 1, ok: true });
    expect(order).toEqual(["c", "a", "b"]);
  }
});

test("select6: losing cases corrupt no queue", async () => {
  const c1 = new Channel<boolean>();
  const c2 = new Channel<boolean>();
  const c3 = new Channel<boolean>();
  const first = go(() => c1.receive());
  const second = go(async () => {
    await select({ c1, c2 });
    await c3.send(true);
  });
  const third = go(() => c2.receive());
  const fourth = go(() => c2.receive());
  await turns(2);
  void c2.send(true);
  await c3.receive();
  void c2.send(true);
  void c2.send(true);
  void c1.send(true);
  await Promise.all([first, second, third, fourth]);
});

test("select7: a parked select is found by a plain send, a select's send and a try", async () => {
  const senders: ((ch: Channel<number>) => unknown)[] = [
    (ch) => ch.send(8),
    (ch) => select({ sent: ch.sending(8) }),
    (ch) => trySelect({ sent: ch.sending(8) }),
    (ch) => ch.trySend(8),
  ];
  for (const send of senders) {
    const ch = new Channel<number>();
    const other = new Channel<number>();
    const r = select({ ch, other });
    await send(ch);
    expect(await r).toEqual({ case: "ch", value: 8, ok: true });
    expect(other.trySend(1)).toBe(false);
  }
});

test("doubleselect: two cases of one select never both take effect", async () => {
  const ITERATIONS = 2000;
  const channels = Array.from({ length: 4 }, () => new Channel<number>());
  const [c1, c2, c3, c4] = channels as [Channel<number>, Channel<number>, Channel<number>, Channel<number>];
  const sending = go(async () => {
    for (let i = 0; i < ITERATIONS; i++) {
      await select({ c1: c1.sending(i), c2: c2.sending(i), c3: c3.sending(i), c4: c4.sending(i) });
    }
    for (const ch of channels) ch.close();
  });
  const merged = new Channel<number>();
  const muxing = channels.map((ch) =>
    go(async () => {
      for await (const v of ch) await merged.send(v);
    }),
  );
  const closing = Promise.all(muxing).then(() => merged.close());
  const seen = new Set<number>();
  let received = 0;
  for await (const v of merged) {
    seen.add(v);
    received++;
  }
  await Promise.all([sending, closing]);
  expect([seen.size, received]).toEqual([ITERATIONS, ITERATIONS]);
});

describe("fairness", () => {
  // Go's bound: 4.89 standard deviations, one run in a million beyond it by chance.
  const TRIALS = 10_000;
  const bound = 4.89 / (2 * Math.sqrt(TRIALS));

  test("SelectFairness: two ready cases among others are chosen equally often, whatever their places", async () => {
    const c1 = new Channel<number>(TRIALS + 1);
    const c2 = new Channel<number>(TRIALS + 1);
    for (let i = 0; i <= TRIALS; i++) {
      c1.trySend(1);
      c2.trySend(2);
    }
    const idle = new Channel<number>();
    let first = 0;
    for (let i = 0; i < TRIALS; i++) {
      const s = await select({ idle, c1, other: idle, last: null, c2 });
      if (s.case === "c1") first++;
    }
    expect(Math.abs(first / TRIALS - 0.5)).toBeLessThan(bound);
  });

  test("PseudoRandomSend: a send of 0 or 1, both ready, is a fair coin", async () => {
    const ch = new Channel<number>(TRIALS);
    for (let i = 0; i < TRIALS; i++) await select({ zero: ch.sending(0), one: ch.sending(1) });
    ch.close();
    let ones = 0;
    for await (const bit of ch) ones += bit;
    expect(Math.abs(ones / TRIALS - 0.5)).toBeLessThan(bound);
  });

  test("the k-th ready case replaces the choice with a chance of 1/k", () => {
    const ch = new Channel<number>(1);
    ch.trySend(1);
    const draws = [0.49, 0.34]; // Below 1/2: the second; not below 1/3: not the third.
    vi.spyOn(Math, "random").mockImplementation(() => draws.shift() as number);
    expect(trySelect({ a: ch, b: ch, c: ch })).toMatchObject({ case: "b" });
    expect(draws).toEqual([]);
  });
});

test("SelectStress: many tasks that select on the same channels, in both directions", async () => {
  track("counters");
  const EACH = 2000;
  const channels = [0, 0, 2, 3].map((capacity) => new Channel<number>(capacity));
  const rnd = random(7);
  const c = (i: number) => channels[i] as Channel<number>;
  const plainSends = channels.map((ch) =>
    go(async () => {
      for (let i = 0; i < EACH; i++) await ch.send(1);
    }),
  );
  const plainReceives = channels.map((ch) =>
    go(async () => {
      for (let i = 0; i < EACH; i++) await ch.receive();
    }),
  );
  const selecting = (receiving: boolean) =>
    go(async () => {
      const left = channels.map(() => EACH);
      while (left.some((n) => n > 0)) {
        const at = (i: number): Selectable => {
          if ((left[i] as number) === 0) return null;
          return receiving ? c(i) : c(i).sending(rnd.int(1, 9));
        };
        const s = await select({ 0: at(0), 1: at(1), 2: at(2), 3: at(3) });
        (left[Number(s.case)] as number)--;
      }
    });
  await Promise.all([...plainSends, ...plainReceives, selecting(true), selecting(false)]);
  expect(channels.map((ch) => ch.len())).toEqual([0, 0, 0, 0]);
});

describe("bad input", () => {
  test.each([
    ["a number", 5, "5"],
    ["an object", {}, "an object (Object)"],
    ["a function", () => {}, "function (anonymous)"],
  ])("%s as a case is refused by its name, and no case takes effect", async (_, it, shown) => {
    const ch = new Channel<number>(1);
    ch.trySend(1);
    const cases = { ch, odd: it as never };
    const wanted = "a channel, a send, a context, an AbortSignal, after(ms) or a promise";
    const message = `select: case "odd" must be ${wanted}, got ${shown}`;
    expect(() => trySelect(cases)).toThrow(new TypeError(message));
    await expect(select(cases)).rejects.toThrow(new TypeError(message));
    expect(ch.len()).toBe(1);
  });

  test("a context that is done is one ready case among others", async () => {
    const { ctx, cancel } = withCancel(background());
    cancel();
    const controller = new AbortController();
    controller.abort("why");
    expect(await select({ ctx, never: null })).toEqual({ case: "ctx", value: ctx.err() });
    expect(await select({ signal: controller.signal })).toEqual({ case: "signal", value: "why" });
  });
});

describe("a tick that is overdue, when a select that waits for it waits for another's case too:", () => {
  /** Parks a select on the ticker and a case; then the ticker is due, and the host timer has not come to it. */
  const overdue = async (cases: Record<string, Selectable>, ticker: Ticker) => {
    const parked = watch(select({ ...cases, tick: ticker.c }));
    await turn();
    vi.setSystemTime(Date.now() + 20);
    vi.spyOn(performance, "now").mockReturnValue(performance.now() + 20);
    return parked;
  };

  test.each(["select", "trySelect"] as const)("%s loses no value that it sends", async (how) => {
    vi.useFakeTimers();
    const ch = new Channel<number>();
    const ticker = new Ticker(10);
    const parked = await overdue({ v: ch }, ticker);
    const cases = { s: ch.sending(1), tick: ticker.c };
    const sent = how === "select" ? watch(select(cases)) : { state: "fulfilled", value: trySelect(cases) };
    await turn();
    expect((parked.value as { case: string }).case).toBe("tick");
    if (how === "trySelect") expect(sent.value).toBeUndefined();
    else {
      expect(sent.state).toBe("pending");
      expect(ch.tryReceive()).toEqual({ value: 1, ok: true });
      await turn();
      expect(sent.value).toEqual({ case: "s" });
    }
    ticker.stop();
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  test("a receive does not fail", async () => {
    vi.useFakeTimers();
    const ch = new Channel<number>();
    const ticker = new Ticker(10);
    const parked = await overdue({ s: ch.sending(1) }, ticker);
    const received = watch(select({ v: ch, tick: ticker.c }));
    await turn();
    expect((parked.value as { case: string }).case).toBe("tick");
    expect(received.state).toBe("pending");
    expect(ch.trySend(2)).toBe(true);
    await turn();
    expect(received.value).toEqual({ case: "v", value: 2, ok: true });
    ticker.stop();
    vi.useRealTimers();
    vi.restoreAllMocks();
  });
});
