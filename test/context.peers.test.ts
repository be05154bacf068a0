/** Known mistakes of other packages with contexts and cancellation, and contexts of the user's own types. */
import { Channel } from "gopark/channel";
import { afterFunc, background, type Context, cause, withCancel, withoutCancel, withTimeout } from "gopark/context";
import { counters, track } from "gopark/leak";
import { Weighted } from "gopark/semaphore";
import { describe, expect, test, vi } from "vitest";
import { turn, turns } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";

/** A signal that counts its listeners. */
function countingSignal(): { controller: AbortController; listeners: () => number; most: () => number } {
  const controller = new AbortController();
  const { signal } = controller;
  let listeners = 0;
  let most = 0;
  const add = signal.addEventListener.bind(signal) as (...args: unknown[]) => void;
  const remove = signal.removeEventListener.bind(signal) as (...args: unknown[]) => void;
  signal.addEventListener = (...args: unknown[]) => {
    most = Math.max(most, ++listeners);
    add(...args);
  };
  signal.removeEventListener = (...args: unknown[]) => {
    listeners--;
    remove(...args);
  };
  return { controller, listeners: () => listeners, most: () => most };
}

describe("a long-lived signal", () => {
  test("carries one listener for any number of waits, and none without a wait", async () => {
    track("counters");
    const { controller, listeners, most } = countingSignal();
    const ch = new Channel<number>();
    const waits = Array.from({ length: 1000 }, () => ch.receive(controller.signal).catch(() => {}));
    const { ctx, cancel } = withTimeout(controller.signal, 60_000);
    waits.push(new Weighted(1).permit(ctx).then((permit) => permit.release()));
    expect(most()).toBeLessThanOrEqual(1);
    ch.close();
    await Promise.all(waits);
    cancel();
    await turn(); // Foreign code does not run in the call that ends a wait, but some microtasks later.
    expect(listeners()).toBe(0);
    track("full");
  });

  test("and 50 000 waits that come and go leave it as it was", async () => {
    track("counters");
    const { controller, listeners, most } = countingSignal();
    const warned: Error[] = [];
    const warn = (warning: Error) => warned.push(warning);
    process.on("warning", warn);
    const ch = new Channel<number>();
    for (let i = 0; i < 50_000; i++) {
      const r = ch.receive(controller.signal);
      ch.trySend(i);
      await r;
    }
    process.off("warning", warn);
    await turn();
    expect([listeners(), most(), warned, counters()["chan receive"]]).toEqual([0, 1, [], 0]);
    track("full");
  });

  test("that was aborted before the first listener ends every operation at the call", async () => {
    const why = new Error("why");
    const signal = AbortSignal.abort(why);
    const ch = new Channel<number>(1);
    ch.trySend(1);
    await expect(ch.receive(signal)).rejects.toBe(why);
    await expect(new Weighted(1).acquire(signal)).rejects.toBe(why);
    expect(cause(withCancel(signal).ctx)).toBe(why);
    expect(ch.len()).toBe(1);
  });
});

describe("trees", () => {
  test("a child of an ended parent is ended at birth; an ended child is forgotten by its parent", () => {
    const parent = withCancel(background());
    for (let i = 0; i < 1000; i++) withCancel(parent.ctx).cancel();
    expect((parent.ctx as unknown as { size: number }).size).toBe(0);
    parent.cancel();
    expect(withCancel(parent.ctx).ctx.err()).toBe(parent.ctx.err());
  });

  test("causes survive every derivation, and withoutCancel keeps the values", () => {
    const why = new Error("why");
    const { ctx, cancel } = withCancel(background());
    const below = withTimeout(withCancel(ctx).ctx, 1000, new Error("late")).ctx;
    cancel(why);
    expect([cause(below), cause(withCancel(below).ctx), cause(withoutCancel(below))]).toEqual([why, why, undefined]);
  });

  test("done() first asked for after the end is closed", () => {
    const { ctx, cancel } = withCancel(background());
    cancel();
    expect(ctx.done()?.tryReceive()).toEqual({ value: undefined, ok: false });
  });

  test("a listener that throws keeps neither the other listeners nor the waits from their end", async () => {
    const { ctx, cancel } = withCancel(background());
    const ran: string[] = [];
    const doom = new Error("doom");
    const thrown: unknown[] = [];
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException").on("uncaughtException", (error) => thrown.push(error));
    const wait = new Channel<number>().receive(ctx).catch(() => ran.push("wait"));
    ctx.signal.addEventListener("abort", () => {
      throw doom;
    });
    ctx.signal.addEventListener("abort", () => ran.push("listener"));
    afterFunc(ctx, () => ran.push("afterFunc"));
    cancel();
    await wait;
    await turns(2);
    process.removeAllListeners("uncaughtException");
    for (const listener of listeners) process.on("uncaughtException", listener);
    expect(ran.sort()).toEqual(["afterFunc", "listener", "wait"]);
    expect(thrown).toEqual([doom]);
  });

  test("code that runs during the end sees all of the tree ended", () => {
    const parent = withCancel(background());
    const children = Array.from({ length: 3 }, () => withCancel(parent.ctx).ctx);
    let seen: (Error | undefined)[] = [];
    children[0]?.signal.addEventListener("abort", () => {
      seen = children.map((ctx) => ctx.err());
    });
    parent.cancel();
    expect(seen).toEqual([parent.ctx.err(), parent.ctx.err(), parent.ctx.err()]);
  });

  test("a waiter whose context ends in the same tree is not granted what another's end sets free", async () => {
    const sem = new Weighted(2);
    const { ctx, cancel } = withCancel(background());
    await sem.acquire(background());
    const big = sem.acquire(ctx, 2).catch((error) => error);
    const small = sem.acquire(withCancel(ctx).ctx, 1).catch((error) => error);
    cancel();
    expect([await big, await small]).toEqual([ctx.err(), ctx.err()]);
    expect(sem.held()).toBe(1);
    sem.release();
  });
});

/** A context of the user's own, with an end of its own. */
class Custom implements Context {
  private readonly closed = new Channel<never>();
  private error: Error | undefined;
  readonly signal = new AbortController().signal;

  deadline(): undefined {}

  done() {
    return this.closed;
  }

  err(): Error | undefined {
    return this.error;
  }

  value(): undefined {}

  end(error: Error): void {
    this.error = error;
    this.closed.close();
  }
}

describe("contexts of the user's own types", () => {
  test("CustomContextPropagation: children end with its error, and its error is their cause", async () => {
    const custom = new Custom();
    const { ctx } = withCancel(custom);
    const deep = withCancel(ctx).ctx;
    const doom = new Error("doom");
    custom.end(doom);
    await turns(2);
    expect([ctx.err(), deep.err(), cause(deep), withCancel(custom).ctx.err()]).toEqual([doom, doom, doom, doom]);
  });

  test("CustomContextGoroutines: one watcher for all its children and waits, and none when they are gone", async () => {
    const custom = new Custom();
    const before = counters()["chan receive"] as number;
    const scopes = Array.from({ length: 5 }, () => withCancel(custom));
    const wait = new Weighted(0).acquire(custom, 0);
    await wait;
    await turn();
    expect((counters()["chan receive"] as number) - before).toBe(1);
    for (const { cancel } of scopes) cancel();
    await turns(2);
    expect(counters()["chan receive"]).toBe(before);
  });

  test("one that hands out our own done channel is attached to directly", async () => {
    const { ctx: inner, cancel } = withCancel(background());
    const wrapper: Context = {
      deadline: () => inner.deadline(),
      done: () => inner.done(),
      err: () => inner.err(),
      value: (key: unknown) => inner.value(key) as undefined,
      get signal() {
        return inner.signal;
      },
    };
    const { ctx } = withCancel(wrapper);
    const why = new Error("why");
    cancel(why);
    expect([ctx.err(), cause(ctx)]).toEqual([inner.err(), why]);
  });

  test("one with an afterFunc method is listened to through it, and its stop function is called when no wait is left", async () => {
    const fns = new Set<() => void>();
    const custom = Object.assign(new Custom(), {
      afterFunc(fn: () => void) {
        fns.add(fn);
        return () => fns.delete(fn);
      },
    });
    const { ctx, cancel } = withCancel(custom);
    expect(fns.size).toBe(1);
    cancel();
    await turn();
    expect(fns.size).toBe(0);
    const again = withCancel(custom);
    custom.end(new Error("doom"));
    for (const fn of fns) fn();
    await turn();
    expect([ctx.err()?.message, again.ctx.err()?.message]).toEqual(["context canceled", "doom"]);
  });

  test("one that ends between two questions, as by a deadline, has ended with the error that it then has", async () => {
    const doom = new Error("doom");
    class Late extends Custom {
      override done() {
        if (this.err() === undefined) this.end(doom);
        return super.done();
      }
    }
    await expect(new Channel<number>().receive(new Late())).rejects.toBe(doom);
    expect(withCancel(new Late()).ctx.err()).toBe(doom);
  });

  test("one that is done without an error is an error of its author, in Go's words", () => {
    const broken = new Custom();
    broken.done().close();
    expect(() => withCancel(broken)).toThrow("context: internal error: missing cancel error");
  });

  test("and in a wait it rejects the wait", async () => {
    const broken = new Custom();
    broken.done().close();
    const seen = await unhandledDuring(async () => {
      await expect(new Channel<number>().receive(broken)).rejects.toThrow("missing cancel error");
    });
    expect(seen).toEqual([]);
    vi.useRealTimers();
  });
});
