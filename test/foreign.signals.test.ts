/** Foreign abort signals whose earlier listeners interfere with the event. */
import { Channel } from "gopark/channel";
import { afterFunc, Canceled, cause, fromSignal, withCancel } from "gopark/context";
import { Group } from "gopark/errgroup";
import { track } from "gopark/leak";
import { select } from "gopark/select";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { turns } from "./support/turn.ts";
import { waits } from "./support/waits.ts";
import { watch } from "./support/watch.ts";

beforeEach(() => {
  vi.useFakeTimers();
});

const stop = (event: Event) => event.stopImmediatePropagation();

/** The ways to manipulate a signal before a wait of ours listens to it. */
const tampered: Record<string, (signal: AbortSignal) => void> = {
  "a listener that stops immediate propagation": (signal) => signal.addEventListener("abort", stop),
  "a capturing listener that stops immediate propagation": (signal) =>
    signal.addEventListener("abort", stop, { capture: true }),
  "an onabort that stops immediate propagation": (signal) => {
    signal.onabort = stop;
  },
  "a listener that stops propagation": (signal) => signal.addEventListener("abort", (event) => event.stopPropagation()),
};

describe.each(Object.keys(tampered))("behind %s", (how) => {
  const reason = new Error("reason");

  function made(): { signal: AbortSignal; abort(): void } {
    const controller = new AbortController();
    const { signal } = controller;
    (tampered[how] as (signal: AbortSignal) => void)(signal);
    return { signal, abort: () => controller.abort(reason) };
  }

  test.each(Object.keys(waits))("%s ends with the abort", async (name) => {
    const { signal, abort } = made();
    const wait = waits[name] as (typeof waits)[string];
    const { promise, grant, clear } = wait(signal);
    const waiting = watch(promise);
    await turns(1);
    expect(waiting.state).toBe("pending");
    abort();
    await turns(2);
    grant();
    await clear?.();
    expect(waiting.reason).toBe(reason);
  });

  test("a context, its children, its functions and its signal end with it", async () => {
    const { signal, abort } = made();
    const ctx = fromSignal(signal);
    const child = withCancel(ctx);
    const childSignal = child.ctx.signal;
    const ran = vi.fn();
    afterFunc(signal, ran);
    const below = watch(new Channel<number>().receive(child.ctx));
    const done = watch(ctx.done()?.receive() as Promise<unknown>);
    const selected = watch(select({ signal, never: new Channel() }));
    const waited = watch(new Group().wait(child.ctx));
    abort();
    await turns(2);
    expect(ctx.err()).toMatchObject({ name: "AbortError", cause: reason });
    expect([child.ctx.err(), below.reason, childSignal.reason]).toEqual([ctx.err(), ctx.err(), ctx.err()]);
    expect(done.value).toEqual({ value: undefined, ok: false });
    expect(selected.value).toEqual({ case: "signal", value: reason });
    expect(waited.state).toBe("fulfilled");
    expect(ran).toHaveBeenCalledTimes(1);
  });
});

/** Reasons of which nothing may be asked. */
const hostile: Record<string, () => object> = {
  "whose name throws": () =>
    Object.defineProperty({}, "name", {
      get() {
        throw new Error("not to be read");
      },
    }),
  "that is a revoked proxy": () => {
    const { proxy, revoke } = Proxy.revocable({}, {});
    revoke();
    return proxy;
  },
  "that is a context error whose message is no string": () =>
    Object.assign(new Canceled(), { message: Symbol("message") }),
};

describe.each(["counters", "full"] as const)("under %s", (mode) => {
  beforeEach(() => {
    track(mode);
    return () => track("full");
  });

  test.each(Object.keys(hostile))("a reason %s ends all that hangs on the signal", async (how) => {
    const controller = new AbortController();
    const reason = (hostile[how] as () => object)();
    const ctx = fromSignal(controller.signal);
    const [child] = withCancel(ctx);
    const waits = [controller.signal, ctx, child].map((cancel) => watch(new Channel().receive(cancel)));
    controller.abort(reason);
    await turns(1);
    expect(waits.map(({ state }) => state)).toEqual(["rejected", "rejected", "rejected"]);
    // Not `toBe`: it would show the reasons if they differed.
    expect(waits[0]?.reason === reason).toBe(true);
    expect([ctx.err(), child.err()].map((err) => err?.name)).toEqual(["AbortError", "AbortError"]);
    expect([cause(child) === reason, child.err() === ctx.err()]).toEqual([true, true]);
  });
});
