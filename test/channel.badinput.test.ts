/** Channels and select: a rejected call changes nothing, and the first claim of a wait is final. */
import { type Cancel, Channel, ClosedChannelError, type Received } from "gopark/channel";
import { background, Canceled, fromSignal, withCancel, withDeadline } from "gopark/context";
import { type Selectable, select, trySelect } from "gopark/select";
import { describe, expect, test, vi } from "vitest";
import { turn, turns } from "./support/turn.ts";
import { type Watched, watch } from "./support/watch.ts";

/** A channel in some state, and the proof that it is in that state still. The proof ends whatever waits. */
interface Fixture {
  readonly ch: Channel<number>;
  prove(): Promise<void>;
}

const value = (n: number) => ({ value: n, ok: true });
const drained = { value: undefined, ok: false };

const states: Record<string, () => Fixture> = {
  "empty, unbuffered": () => {
    const ch = new Channel<number>();
    const prove = async () => expect([ch.tryReceive(), ch.trySend(9)]).toEqual([undefined, false]);
    return { ch, prove };
  },
  "half full": () => {
    const ch = new Channel<number>(2);
    ch.trySend(1);
    const prove = async () => {
      expect([ch.len(), ch.tryReceive(), ch.tryReceive()]).toEqual([1, value(1), undefined]);
    };
    return { ch, prove };
  },
  "full, with a sender parked": () => {
    const ch = new Channel<number>(1);
    ch.trySend(1);
    const sender = watch(ch.send(2));
    const prove = async () => {
      await turn();
      expect([sender.state, ch.len()]).toEqual(["pending", 1]);
      expect([ch.tryReceive(), ch.tryReceive(), ch.tryReceive()]).toEqual([value(1), value(2), undefined]);
      await turn();
      expect(sender.state).toBe("fulfilled");
    };
    return { ch, prove };
  },
  "unbuffered, with a sender parked": () => {
    const ch = new Channel<number>();
    const sender = watch(ch.send(1));
    const prove = async () => {
      await turn();
      expect(sender.state).toBe("pending");
      expect([ch.tryReceive(), ch.tryReceive()]).toEqual([value(1), undefined]);
      await turn();
      expect(sender.state).toBe("fulfilled");
    };
    return { ch, prove };
  },
  "with a receiver parked": () => {
    const ch = new Channel<number>();
    const receiver = watch(ch.receive());
    const prove = async () => {
      await turn();
      expect(receiver.state).toBe("pending");
      expect([ch.trySend(1), ch.trySend(2)]).toEqual([true, false]);
      await turn();
      expect(receiver.value).toEqual(value(1));
    };
    return { ch, prove };
  },
  "closed, with a value left": () => {
    const ch = new Channel<number>(2);
    ch.trySend(1);
    ch.close();
    const prove = async () => expect([ch.len(), ch.tryReceive(), ch.tryReceive()]).toEqual([1, value(1), drained]);
    return { ch, prove };
  },
  "closed and drained": () => {
    const ch = new Channel<number>();
    ch.close();
    const prove = async () => {
      expect(ch.tryReceive()).toEqual(drained);
      expect(() => ch.trySend(9)).toThrow(ClosedChannelError);
    };
    return { ch, prove };
  },
};

/** Every operation that takes a cancel. */
const operations: Record<string, (ch: Channel<number>, cancel: Cancel) => Promise<unknown>> = {
  send: (ch, cancel) => ch.send(9, cancel),
  receive: (ch, cancel) => ch.receive(cancel),
  "values().next": (ch, cancel) => ch.values(cancel).next(),
  "for await": async (ch, cancel) => {
    for await (const v of ch.values(cancel)) expect.unreachable(`got ${v}`);
  },
};

const everywhere = Object.keys(operations).flatMap((operation) =>
  Object.keys(states).map((state) => [operation, state] as const),
);
const fixture = (state: string) => (states[state] as () => Fixture)();
const operate = (operation: string, ch: Channel<number>, cancel: Cancel) =>
  (operations[operation] as (ch: Channel<number>, cancel: Cancel) => Promise<unknown>)(ch, cancel);

describe("capacities", () => {
  test.each([Number.NaN, -1, 0.5, -0.5, 2 ** 53, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    "a capacity of %d is a RangeError",
    (capacity) => {
      expect(() => new Channel(capacity)).toThrow(
        new RangeError(`Channel: capacity must be a whole number from 0 to 2^53-1, got ${capacity}`),
      );
    },
  );

  test.each(["1", null, 1n, true, [], {}, () => 1])("a capacity that is no number is a TypeError: %o", (capacity) => {
    expect(() => new Channel(capacity as never)).toThrow(TypeError);
    expect(() => new Channel(capacity as never)).toThrow("Channel: capacity must be a whole number, got ");
  });

  test("the largest capacity costs nothing by itself", () => {
    const ch = new Channel<number>(2 ** 53 - 1);
    expect([ch.trySend(1), ch.len(), ch.cap()]).toEqual([true, 1, 2 ** 53 - 1]);
  });

  test("no capacity and undefined are the unbuffered channel", () => {
    for (const ch of [new Channel<number>(), new Channel<number>(undefined), new Channel<number>(0)]) {
      expect([ch.cap(), ch.trySend(1)]).toEqual([0, false]);
    }
  });
});

describe("a cancel of another type rejects with a TypeError that shows it, whatever the channel", () => {
  const bad: [unknown, string][] = [
    [5, "5"],
    ["stop", '"stop"'],
    [true, "true"],
    [null, "null"],
    [Symbol("stop"), "Symbol(stop)"],
    [{}, "an object (Object)"],
    [Object.create(null), "an object (no constructor)"],
    [function stop() {}, "function stop"],
    [new AbortController(), "an object (AbortController): pass controller.signal"],
    [{ ctx: background() }, "an object (Object): pass scope.ctx"],
    [withCancel, "function withCancel"],
    [Promise.resolve(), "an object (Promise)"],
    [new Channel(), "an object (Channel)"],
    [{ err: () => undefined }, "an object (Object)"],
    [{ aborted: true }, "an object (Object)"],
  ];

  test.each(everywhere)("%s, channel %s", async (operation, state) => {
    for (const [cancel, shown] of bad) {
      const { ch, prove } = fixture(state);
      const refused = watch(operate(operation, ch, cancel as Cancel));
      await turn();
      expect(refused.reason).toEqual(new TypeError(`expected a Context or an AbortSignal, got ${shown}`));
      expect(refused.reason).toBeInstanceOf(TypeError);
      await prove();
    }
  });
});

describe("a done cancel wins at the call, even if the operation could complete, and rejects with its own error", () => {
  const done: Record<string, () => { cancel: Cancel; reason: unknown }> = {
    "a cancelled context": () => {
      const { ctx, cancel } = withCancel(background());
      cancel();
      return { cancel: ctx, reason: ctx.err() };
    },
    "a context below a cancelled one": () => {
      const { ctx, cancel } = withCancel(background());
      const below = withCancel(ctx);
      cancel(new Error("why"));
      return { cancel: below.ctx, reason: ctx.err() };
    },
    "a context made too late": () => {
      const { ctx } = withDeadline(background(), 0);
      return { cancel: ctx, reason: ctx.err() };
    },
    "the signal of a cancelled context": () => {
      const { ctx, cancel } = withCancel(background());
      cancel();
      return { cancel: ctx.signal, reason: ctx.signal.reason };
    },
    "a context of an aborted signal": () => {
      const ctx = fromSignal(AbortSignal.abort());
      return { cancel: ctx, reason: ctx.err() };
    },
    "a signal aborted without a reason": () => {
      const cancel = AbortSignal.abort();
      return { cancel, reason: cancel.reason };
    },
    ...Object.fromEntries(
      [null, 0, "", "why", { any: "value" }].map((reason) => [
        `a signal aborted with ${JSON.stringify(reason)}`,
        () => ({ cancel: AbortSignal.abort(reason), reason }),
      ]),
    ),
  };

  test.each(everywhere)("%s, channel %s", async (operation, state) => {
    for (const [what, make] of Object.entries(done)) {
      const { ch, prove } = fixture(state);
      const { cancel, reason } = make();
      const refused = watch(operate(operation, ch, cancel));
      await turn();
      expect([what, refused.state]).toEqual([what, "rejected"]);
      expect(refused.reason, what).toBe(reason);
      await prove();
    }
  });

  test.each(Object.keys(done))("as the only ready case of a select: %s", async (what) => {
    const { cancel, reason } = (done[what] as () => { cancel: Cancel; reason: unknown })();
    const ch = new Channel<number>();
    const cases = { ch, sent: ch.sending(9), stop: cancel };

    // By toBe, because no two errors of one message are equal here.
    const answer = await select(cases);
    expect(answer.case).toBe("stop");
    expect((answer as { value: unknown }).value).toBe(reason);
    expect((trySelect(cases) as { value: unknown }).value).toBe(reason);
    expect([ch.trySend(1), ch.tryReceive()]).toEqual([false, undefined]);
  });

  test("an iterator is over after its refusal, even where its channel has values", async () => {
    const ch = new Channel<number>(1);
    ch.trySend(1);
    const values = ch.values(AbortSignal.abort("why"));
    await expect(values.next()).rejects.toBe("why");
    expect([await values.next(), ch.len()]).toEqual([{ value: undefined, done: true }, 1]);
  });
});

describe("select refuses an unusable case by its name, and no case takes effect", () => {
  const unusable: [string, unknown][] = [
    ["a number", 0],
    ["a string", ""],
    ["false", false],
    ["a symbol", Symbol("case")],
    ["an AbortController instead of its signal", new AbortController()],
    ["a thenable", { then: (answer: (it: unknown) => void) => answer(1) }],
    ["an iterator", new Channel<number>().values()],
    ["a send not made by sending()", { channel: new Channel<number>(1), value: 1 }],
    ["an array of channels", [new Channel<number>()]],
  ];
  const receiving: Record<string, (ch: Channel<number>) => Selectable> = {
    receive: (ch) => ch,
    send: (ch) => ch.sending(9),
  };
  const rows = unusable.flatMap(([what, it]) => Object.keys(receiving).map((case_) => [what, case_, it] as const));

  test.each(rows)("%s beside a %s", async (_, beside, it) => {
    const odd = it as Selectable;
    for (const state of Object.keys(states)) {
      for (const last of [true, false]) {
        const { ch, prove } = fixture(state);
        const good = (receiving[beside] as (ch: Channel<number>) => Selectable)(ch);
        const cases: Record<string, Selectable> = last ? { good, odd } : { odd, good };
        expect(() => trySelect(cases)).toThrow(/^select: case "odd" must be a channel, /);
        const refused = watch(select(cases));
        await turn();
        expect(refused.reason).toBeInstanceOf(TypeError);
        await prove();
      }
    }
  });

  test("a closed channel's send is one candidate: not chosen, it throws nothing and the other takes effect", async () => {
    const closed = new Channel<number>();
    closed.close();
    const open = new Channel<number>(2);
    open.trySend(1);
    const random = vi.spyOn(Math, "random");

    random.mockReturnValue(0.99); // The first of two ready cases stays the choice.
    expect(trySelect({ open, bad: closed.sending(9) })).toEqual({ case: "open", ...value(1) });
    await expect(select({ bad: closed.sending(9), sent: open.sending(2) })).rejects.toThrow(ClosedChannelError);
    expect(open.len()).toBe(0);
    random.mockReturnValue(0); // The second replaces it.
    expect(await select({ bad: closed.sending(9), sent: open.sending(2) })).toEqual({ case: "sent" });
    expect(() => trySelect({ open, bad: closed.sending(9) })).toThrow(ClosedChannelError);
    expect(open.len()).toBe(1);
  });
});

describe("closing", () => {
  test("a second close throws, and neither it nor a refused send touches what is buffered", async () => {
    const { ch, prove } = fixture("closed, with a value left");
    expect(() => ch.close()).toThrow(new Error("close of closed channel"));
    await expect(ch.send(9)).rejects.toMatchObject({ name: "ClosedChannelError", value: 9 });
    await expect(select({ sent: ch.sending(9) })).rejects.toMatchObject({ value: 9 });
    expect(() => ch.trySend(9)).toThrow(ClosedChannelError);
    await prove();
  });

  test("close claims a parked select once, though it stands on the channel with a receive and a send", async () => {
    const ch = new Channel<number>();
    const both = watch(select({ ch, sent: ch.sending(1) }));
    const full = new Channel<number>();
    const other = new Channel<number>();
    const sendOnly = watch(select({ sent: full.sending(2), other }));
    ch.close();
    full.close();
    expect(other.trySend(3)).toBe(false);
    await turn();
    expect(both.value).toEqual({ case: "ch", ...drained });
    expect(sendOnly.reason).toBeInstanceOf(ClosedChannelError);
  });
});

/**
 * Grant, cancel and close all come within one turn, in every order. Whichever is first claims the wait; a second waiter
 * stands behind, without a cancel, and takes what the first one did not. The values sent are the values received.
 */
describe("the first claim is final", () => {
  type Act = "grant" | "cancel" | "close";
  const orders: Act[][] = [
    ["grant", "cancel", "close"],
    ["grant", "close", "cancel"],
    ["cancel", "grant", "close"],
    ["cancel", "close", "grant"],
    ["close", "grant", "cancel"],
    ["close", "cancel", "grant"],
  ];

  type Wait = (ch: Channel<number>, cancel: Cancel | undefined, n: number) => Promise<unknown>;
  const receives: Record<string, Wait> = {
    receive: (ch, cancel) => ch.receive(cancel),
    "select-receive": (ch, cancel) => select({ ch, cancel }),
    next: (ch, cancel) => ch.values(cancel).next(),
  };
  const sends: Record<string, Wait> = {
    send: (ch, cancel, n) => ch.send(n, cancel),
    "select-send": (ch, cancel, n) => select({ sent: ch.sending(n), cancel }),
  };

  const cancels: Record<string, () => { cancel: Cancel; end: () => void }> = {
    context: () => {
      const { ctx, cancel } = withCancel(background());
      return { cancel: ctx, end: () => cancel() };
    },
    signal: () => {
      const controller = new AbortController();
      return { cancel: controller.signal, end: () => controller.abort(new Canceled()) };
    },
  };

  /** Which of the acts has claimed a wait, by its result. */
  function claimant({ state, value, reason }: Watched): Act | "none" {
    if (state === "pending") return "none";
    if (reason instanceof ClosedChannelError) return "close";
    const answer = (value ?? {}) as { case?: string; ok?: boolean; done?: boolean };
    if (reason instanceof Canceled || answer.case === "cancel") return "cancel";
    expect(state).toBe("fulfilled");
    return answer.ok === false || answer.done === true ? "close" : "grant";
  }

  /** Spends the turn's budget, so that further completions are deferred: one within it is the shared promise. */
  function spendBudget(): void {
    const ch = new Channel<number>(2 ** 30);
    const within = ch.send(0);
    for (let i = 0; ch.send(i) === within; i++) if (i === 1e6) throw new Error("the budget has no end");
  }

  /** Lets microtasks run, and nothing else. */
  async function microtasks(): Promise<void> {
    for (let i = 0; i < 20; i++) await Promise.resolve();
  }

  /** How the waiter behind ends: by the first act that is left for it. */
  function expectedBehind([first, second]: Act[]): Act {
    return first === "cancel" ? (second as Act) : "close";
  }

  /** Does the acts, at once, to two waiters. Returns how they ended, what was sent and what came out. */
  async function run(order: Act[], wait: Wait, receiving: boolean, how: string, capacity: number, spent: boolean) {
    const ch = new Channel<number>(capacity);
    const { cancel, end } = (cancels[how] as (typeof cancels)[string])();
    const sent: number[] = [];
    const out: number[] = [];
    const take = (r: Received<number> | undefined) => r?.ok && out.push(r.value);
    if (!receiving) for (let i = 0; i < capacity; i++) if (ch.trySend(i)) sent.push(i);
    const waiter = watch(wait(ch, cancel, 100));
    const behind = watch(wait(ch, undefined, 101));
    await turns(2);

    if (spent) spendBudget();
    for (const act of order) {
      if (act === "cancel") end();
      else if (act === "close") ch.close();
      else if (!receiving) take(ch.tryReceive());
      else if (!order.slice(0, order.indexOf("grant")).includes("close")) {
        if (ch.trySend(100)) sent.push(100);
      } else expect(() => ch.trySend(100)).toThrow(ClosedChannelError);
    }
    await microtasks();
    const early = waiter.state;
    await turns(3);

    for (let r = ch.tryReceive(); r?.ok; r = ch.tryReceive()) take(r);
    for (const [i, w] of [waiter, behind].entries()) {
      if (claimant(w) !== "grant") continue;
      if (receiving) out.push((w.value as { value: number }).value);
      else sent.push(100 + i);
    }
    return { early, waiter: claimant(waiter), behind: claimant(behind), sent, out };
  }

  const rows = [
    ...Object.entries(receives).map(([name, wait]) => [name, wait, true] as const),
    ...Object.entries(sends).map(([name, wait]) => [name, wait, false] as const),
  ].flatMap(([name, wait, receiving]) =>
    orders.map((order) => [name, order.join(", "), order, wait, receiving] as const),
  );

  test.each(rows)("%s: %s", async (_, __, order, wait, receiving) => {
    for (const how of Object.keys(cancels)) {
      for (const capacity of [0, 1, 3]) {
        for (const spent of [false, true]) {
          const where = `by ${how}, capacity ${capacity}, budget ${spent ? "spent" : "left"}`;
          const ended = await run(order, wait, receiving, how, capacity, spent);
          expect([ended.waiter, ended.behind], where).toEqual([order[0], expectedBehind(order)]);
          expect(ended.out.sort(), where).toEqual(ended.sent.sort());
          expect(ended.early === "pending", where).toBe(spent);
        }
      }
    }
  });

  test("an operation that completed at once over the budget is not revoked by the cancel that comes before it resumes", async () => {
    const { ctx, cancel } = withCancel(background());
    const ch = new Channel<number>(4);
    for (const n of [1, 2, 3]) ch.trySend(n);
    spendBudget();

    const waits = [ch.receive(ctx), select({ ch, never: null }), ch.values(ctx).next(), ch.send(4, ctx)].map(watch);
    cancel();
    ch.close();
    await microtasks();
    expect(waits.map((w) => w.state)).toEqual(["pending", "pending", "pending", "pending"]);
    await turns(2);

    expect(waits.map((w) => w.value)).toEqual([
      value(1),
      { case: "ch", ...value(2) },
      { value: 3, done: false },
      undefined,
    ]);
    expect([waits[3]?.state, ch.tryReceive(), ch.tryReceive()]).toEqual(["fulfilled", value(4), drained]);
  });
});

test("a send case whose channel, of a subclass, refuses a value that there is room for fails, and is not called sent", async () => {
  class Refusing extends Channel<number> {
    override trySend(): boolean {
      return false;
    }
  }
  const ch = new Refusing(1);
  const refused = "a ready send found no receiver";
  expect(() => trySelect({ sent: ch.sending(1) })).toThrow(refused);
  await expect(select({ sent: ch.sending(1) })).rejects.toThrow(refused);
  expect(ch.len()).toBe(0);
});
