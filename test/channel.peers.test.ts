/** Channels and select: known mistakes of ports and similar packages. */
import { getEventListeners } from "node:events";
import { Channel } from "gopark/channel";
import { background, Canceled, withCancel } from "gopark/context";
import { track } from "gopark/leak";
import { select, trySelect } from "gopark/select";
import { afterEach, describe, expect, test, vi } from "vitest";
import { turn, turns } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

afterEach(() => track("full"));

test("a losing receive of a select swallows no value", async () => {
  const a = new Channel<string>(1);
  const b = new Channel<string>(1);
  const selected = watch(select({ a, b }));
  await turn();

  expect([a.trySend("for a"), b.trySend("for b")]).toEqual([true, true]);
  await turn();

  expect(selected.value).toEqual({ case: "a", value: "for a", ok: true });
  expect([a.len(), b.tryReceive()]).toEqual([0, { value: "for b", ok: true }]);
});

test("a select that its context has ended swallows no value that comes in the same turn", async () => {
  const ch = new Channel<string>(1);
  const scope = withCancel(background());
  const selected = watch(select({ ch, stop: scope.ctx }));
  const received = watch(ch.receive(scope.ctx));
  await turn();

  scope.cancel();
  ch.trySend("kept");
  await turn();

  expect(selected.value).toEqual({ case: "stop", value: scope.ctx.err() });
  expect(received.reason).toBe(scope.ctx.err());
  expect(ch.tryReceive()).toEqual({ value: "kept", ok: true });
});

test.each([0, 1, 2])("cancelling parked receiver %d of three removes that one, not a neighbour", async (which) => {
  const ch = new Channel<string>();
  const scopes = [0, 1, 2].map(() => withCancel(background()));
  const receivers = scopes.map(({ ctx }) => watch(ch.receive(ctx)));

  scopes[which]?.cancel();
  const sent = ["first", "second", "third"].map((value) => ch.trySend(value));
  await turn();

  expect(sent).toEqual([true, true, false]);
  expect(receivers[which]?.reason).toBeInstanceOf(Canceled);
  receivers.splice(which, 1);
  expect(receivers.map((w) => w.value)).toEqual(["first", "second"].map((value) => ({ value, ok: true })));
  for (const { cancel } of scopes) cancel();
});

test("cancelling a receiver that has its value already unlinks no other", async () => {
  const ch = new Channel<string>();
  const scope = withCancel(background());
  const served = watch(ch.receive(scope.ctx));
  const innocent = watch(ch.receive());

  ch.trySend("first");
  scope.cancel();
  expect(ch.trySend("second")).toBe(true);
  await turn();

  expect([served.value, innocent.value]).toEqual(["first", "second"].map((value) => ({ value, ok: true })));
});

test("a select's losing cases leave their own queues, and the wait at the front stays", async () => {
  const x = new Channel<number>();
  const y = new Channel<number>();
  const head = watch(select({ y }));
  const both = watch(select({ x, y }));
  const tail = watch(select({ y }));

  expect([x.trySend(1), y.trySend(2), y.trySend(3), y.trySend(4)]).toEqual([true, true, true, false]);
  await turn();

  expect(both.value).toEqual({ case: "x", value: 1, ok: true });
  expect(head.value).toEqual({ case: "y", value: 2, ok: true });
  expect(tail.value).toEqual({ case: "y", value: 3, ok: true });
});

test("a select's losing sends leave their own queues too", async () => {
  const x = new Channel<string>();
  const y = new Channel<string>();
  const head = watch(y.send("head"));
  const both = watch(select({ x: x.sending("to x"), y: y.sending("to y") }));
  const tail = watch(y.send("tail"));

  const received = [x, y, y, y].map((ch) => ch.tryReceive()?.value);
  await turn();

  expect(received).toEqual(["to x", "head", "tail", undefined]);
  expect(both.value).toEqual({ case: "x" });
  expect([head.state, tail.state]).toEqual(["fulfilled", "fulfilled"]);
});

test("between waking and resuming no call can take a receiver's value, and it never reads as closed", async () => {
  const ch = new Channel<number>(1);
  const waiting = [watch(ch.receive()), watch(select({ ch })), watch(ch.values().next())];

  expect([ch.trySend(1), ch.trySend(2), ch.trySend(3)]).toEqual([true, true, true]);
  expect(ch.tryReceive()).toBeUndefined();
  ch.close();
  await turn();

  expect(waiting.map((w) => w.value)).toEqual([
    { value: 1, ok: true },
    { case: "ch", value: 2, ok: true },
    { value: 3, done: false },
  ]);
});

test("a freed place in the buffer goes to the longest-parked sender, before any later send", async () => {
  const ch = new Channel<string>(1);
  await ch.send("a");
  const b = watch(ch.send("b"));

  expect(ch.tryReceive()?.value).toBe("a");
  expect(ch.trySend("barges")).toBe(false);
  const c = watch(ch.send("c"));
  await turn();

  expect([b.state, c.state]).toEqual(["fulfilled", "pending"]);
  expect([ch.tryReceive()?.value, ch.tryReceive()?.value]).toEqual(["b", "c"]);
});

test("one receive admits one of five parked senders; close refuses the rest and keeps what is buffered", async () => {
  const ch = new Channel<number>(1);
  await ch.send(0);
  const senders = [1, 2, 3, 4, 5].map((value) => watch(ch.send(value)));

  expect(ch.tryReceive()?.value).toBe(0);
  await turn();
  expect(senders.map((w) => w.state)).toEqual(["fulfilled", "pending", "pending", "pending", "pending"]);

  ch.close();
  await turn();
  expect(senders.slice(1).map((w) => String(w.reason))).toEqual(
    Array(4).fill("ClosedChannelError: send on closed channel"),
  );
  expect([ch.tryReceive(), ch.tryReceive()]).toEqual([
    { value: 1, ok: true },
    { value: undefined, ok: false },
  ]);
});

describe("nothing piles up on", () => {
  // Lives as long as the tests: a registry that is itself collected reports nothing.
  const registry = new FinalizationRegistry<{ collected: number }>((run) => run.collected++);

  /** Waits n times, each for a fresh object, and asserts that all of these can be collected. */
  async function waits(n: number, wait: (job: Channel<object>) => Promise<{ value?: unknown }>): Promise<void> {
    track("counters");
    const job = new Channel<object>();
    const run = { collected: 0 };
    for (let i = 0; i < n; i++) {
      const pending = wait(job);
      const value = {};
      registry.register(value, run);
      job.trySend(value);
      const answer = await pending;
      if (answer.value !== value) throw new Error(`wait ${i} got another value`);
    }
    await turns(2);
    // A wait that is still linked holds its promise, and that the value.
    await collectUntil(() => run.collected > n - 10);
    expect(run.collected).toBeGreaterThan(n - 10);
  }

  test("an idle channel that 20 000 selects stood on", async () => {
    const idle = new Channel<never>();
    await waits(20_000, (job) => select({ idle, job }));
    idle.close();
  });

  test("a context that 50 000 receives and selects waited under", async () => {
    using scope = withCancel(background());
    let i = 0;
    await waits(50_000, (job) => (i++ % 2 === 0 ? job.receive(scope.ctx) : select({ job, stop: scope.ctx })));
  });

  test("an abort signal that 50 000 receives and selects waited under: one listener, and no warning", async () => {
    const warnings: Error[] = [];
    const warned = (warning: Error) => warnings.push(warning);
    process.on("warning", warned);
    const controller = new AbortController();
    const { signal } = controller;
    let i = 0;
    let listeners = 0;
    await waits(50_000, (job) => {
      const wait = i++ % 2 === 0 ? job.receive(signal) : select({ job, stop: signal });
      listeners = Math.max(listeners, getEventListeners(signal, "abort").length);
      return wait;
    });
    process.off("warning", warned);
    // Until here the controller keeps the signal, and all that is linked to it, from being collected.
    controller.abort();
    expect(listeners).toBe(1);
    expect(warnings).toEqual([]);
  });

  test("an abort signal that 1000 receives wait under at once: one listener", async () => {
    const controller = new AbortController();
    const ch = new Channel<never>();
    const receivers = Array.from({ length: 1000 }, () => watch(ch.receive(controller.signal)));
    expect(getEventListeners(controller.signal, "abort")).toHaveLength(1);
    controller.abort();
    await turns(2);
    expect(receivers.every((w) => w.reason === controller.signal.reason)).toBe(true);
  });
});

test("200 000 parked senders are allowed, and drain in linear time", async () => {
  track("counters");
  const n = 200_000;
  const ch = new Channel<number>(1);
  let sent = 0;
  for (let i = 0; i <= n; i++) void ch.send(i).then(() => sent++);

  // Were the queue an array, each shift would move what is left of it: tens of seconds, beyond the test's time.
  for (let i = 0; i <= n; i++) if (ch.tryReceive()?.value !== i) throw new Error(`value ${i} is out of order`);
  expect(ch.tryReceive()).toBeUndefined();

  for (let i = 0; i < 1000 && sent <= n; i++) await turn();
  expect(sent).toBe(n + 1);
});

test("20 000 parked receivers are cancelled from the middle outwards, each without a search", async () => {
  track("counters");
  const ch = new Channel<number>();
  const scopes = Array.from({ length: 20_000 }, () => withCancel(background()));
  let cancelled = 0;
  for (const { ctx } of scopes) ch.receive(ctx).catch(() => cancelled++);
  const outwards = [...scopes.keys()];
  outwards.sort((a, b) => Math.abs(a - 10_000) - Math.abs(b - 10_000));

  for (const i of outwards) scopes[i]?.cancel();
  for (let i = 0; i < 1000 && cancelled < scopes.length; i++) await turn();

  expect(cancelled).toBe(20_000);
  expect(ch.trySend(1)).toBe(false);
});

test.each([undefined, null])("sending %s is delivered and closes nothing", async (nothing) => {
  const ch = new Channel<undefined | null>(2);
  const waiting = [watch(ch.receive()), watch(select({ ch })), watch(ch.values().next())];
  for (const _ of waiting) expect(ch.trySend(nothing)).toBe(true);
  await ch.send(nothing);
  await turn();

  expect(waiting.map((w) => w.value)).toEqual([
    { value: nothing, ok: true },
    { case: "ch", value: nothing, ok: true },
    { value: nothing, done: false },
  ]);
  expect(trySelect({ out: ch.sending(nothing) })).toEqual({ case: "out" });
  expect([ch.len(), ch.tryReceive(), trySelect({ ch })]).toEqual([
    2,
    { value: nothing, ok: true },
    { case: "ch", value: nothing, ok: true },
  ]);

  const unbuffered = new Channel<undefined | null>();
  const sender = watch(unbuffered.send(nothing));
  expect(unbuffered.tryReceive()).toEqual({ value: nothing, ok: true });
  await turn();
  expect(sender.state).toBe("fulfilled");
  expect(unbuffered.tryReceive()).toBeUndefined();
});

test("an iterator's return ends at once, even while next is parked, and leaves the channel open", async () => {
  const ch = new Channel<number>(1);
  const values = ch.values();
  const parked = [watch(values.next()), watch(values.next())];
  await turn();
  expect(parked.map((w) => w.state)).toEqual(["pending", "pending"]);

  const returned = watch(values.return?.() ?? Promise.reject(new Error("no return")));
  await turn();

  const over = { value: undefined, done: true };
  expect([returned.value, ...parked.map((w) => w.value)]).toEqual([over, over, over]);
  ch.trySend(1);
  expect(await values.next()).toEqual(over);
  expect(ch.tryReceive()).toEqual({ value: 1, ok: true });
});

test("an async function can return a channel: it is not a thenable, and nothing is received from it", async () => {
  const ch = new Channel<number>(1);
  ch.trySend(1);
  const make = async () => ch;

  expect(await make()).toBe(ch);
  expect(await Promise.resolve(ch)).toBe(ch);
  expect(ch.len()).toBe(1);
});

describe("a select with a send and a receive on one unbuffered channel", () => {
  test("does not talk to itself: it parks, and another can take from it or give to it", async () => {
    const ch = new Channel<string>();
    const cases = { in: ch, out: ch.sending("mine") };
    expect(trySelect(cases)).toBeUndefined();
    const giving = watch(select(cases));
    await turn();
    expect(giving.state).toBe("pending");

    expect(ch.tryReceive()).toEqual({ value: "mine", ok: true });
    expect(ch.trySend("no waiter")).toBe(false);
    const taking = watch(select(cases));
    expect(ch.trySend("yours")).toBe(true);
    expect(ch.tryReceive()).toBeUndefined();
    await turn();

    expect(giving.value).toEqual({ case: "out" });
    expect(taking.value).toEqual({ case: "in", value: "yours", ok: true });
  });

  test("meets another of its kind: one sends, the other receives", async () => {
    const ch = new Channel<string>();
    const parked = watch(select({ in: ch, out: ch.sending("first's") }));
    const coming = watch(select({ in: ch, out: ch.sending("second's") }));
    await turn();

    const outcomes = [parked.value, coming.value];
    const firstSends = [{ case: "out" }, { case: "in", value: "first's", ok: true }];
    const secondSends = [{ case: "in", value: "second's", ok: true }, { case: "out" }];
    expect([firstSends, secondSends]).toContainEqual(outcomes);
  });
});

describe("of the ready cases each is chosen as often as the others", () => {
  const ROUNDS = 10_000;
  // As Go's own test: 4.89 standard deviations, one failure in a million runs.
  const BOUND = (cases: number) => 4.89 * Math.sqrt((1 / cases) * (1 - 1 / cases) * ROUNDS);

  function even(chosen: Record<string, number>, cases: number): void {
    expect(Object.keys(chosen)).toHaveLength(cases);
    for (const n of Object.values(chosen)) expect(Math.abs(n - ROUNDS / cases)).toBeLessThan(BOUND(cases));
  }

  const closed = (): Channel<never> => {
    const ch = new Channel<never>();
    ch.close();
    return ch;
  };

  test("two receives, waiting for the answer", async () => {
    const cases = { a: closed(), idle: null, b: closed() };
    const chosen: Record<string, number> = {};
    for (let i = 0; i < ROUNDS; i++) {
      const s = await select(cases);
      chosen[s.case] = (chosen[s.case] ?? 0) + 1;
    }
    even(chosen, 2);
  });

  test("a send, a receive, a context and an abort signal, without waiting", () => {
    const out = new Channel<number>(ROUNDS);
    const scope = withCancel(background());
    scope.cancel();
    const idle = new Channel<never>();
    const cases = { out: out.sending(1), idle, closed: closed(), ctx: scope.ctx, signal: AbortSignal.abort() };
    const chosen: Record<string, number> = {};
    for (let i = 0; i < ROUNDS; i++) {
      const s = trySelect(cases);
      if (s !== undefined) chosen[s.case] = (chosen[s.case] ?? 0) + 1;
    }
    even(chosen, 4);
    expect(out.len()).toBe(chosen.out);
  });
});

test("a wait is parked, not polled: no timer and no immediate runs for it", async () => {
  vi.useFakeTimers();
  const armed = () => process.getActiveResourcesInfo().filter((kind) => kind === "Timeout" || kind === "Immediate");
  const before = armed();
  const scope = withCancel(background());
  const ch = new Channel<number>();
  const full = new Channel<number>();
  const waiting = [
    ch.receive(scope.ctx),
    ch.values(scope.ctx).next(),
    full.send(1, scope.ctx),
    select({ ch, full: full.sending(2), stop: scope.ctx }),
  ].map(watch);
  for (let i = 0; i < 10; i++) await Promise.resolve();

  expect(armed()).toEqual(before);
  expect(vi.getTimerCount()).toBe(0);
  expect(waiting.map((w) => w.state)).toEqual(["pending", "pending", "pending", "pending"]);
  scope.cancel();
});
