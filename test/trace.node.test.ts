/** gopark/trace/node: waits and tasks on the channels of diagnostics_channel. */
import { AsyncLocalStorage } from "node:async_hooks";
import { channel, subscribe, tracingChannel, unsubscribe } from "node:diagnostics_channel";
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { go } from "gopark/go";
import { track } from "gopark/leak";
import { bridge, type TaskMessage, type WaitMessage } from "gopark/trace/node";
import { afterEach, describe, expect, test } from "vitest";
import { isObserved, toWatch } from "../src/internal/track/tracker.ts";
import { child } from "./support/child.ts";
import { reportsDue } from "./support/reported.ts";
import { turn } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

function bridged(): () => void {
  const end = bridge();
  cleanups.push(end);
  return end;
}

function on(name: string, listener: (message: unknown) => void): void {
  subscribe(name, listener);
  cleanups.push(() => unsubscribe(name, listener));
}

describe("waits", () => {
  /** What is published: `+kind` and `-kind`, with what is said of the end. */
  function log(): string[] {
    const seen: string[] = [];
    on("gopark.wait.parked", (message) => seen.push(`+${(message as WaitMessage).kind}`));
    on("gopark.wait.unparked", (message) => {
      const { kind, canceled } = message as WaitMessage;
      seen.push(`-${kind} ${canceled}`);
    });
    return seen;
  }

  test("are published when they park and when they end, as one object", async () => {
    const messages: unknown[] = [];
    on("gopark.wait.parked", (message) => messages.push(message));
    on("gopark.wait.unparked", (message) => messages.push(message));
    const seen = log();
    bridged();
    const ch = new Channel<number>();
    const [ctx, cancel] = withCancel(background());
    const waits = [watch(ch.receive(ctx)), watch(ch.receive())];
    expect((messages[0] as WaitMessage).canceled).toBeUndefined();
    cancel();
    ch.close();
    await turn();
    expect(waits.map(({ state }) => state)).toEqual(["rejected", "fulfilled"]);
    expect(seen).toEqual(["+chan receive", "+chan receive", "-chan receive true", "-chan receive false"]);
    expect(messages[2]).toBe(messages[0]);
    expect(messages[3]).toBe(messages[1]);
  });

  test("have their stack under full tracking", async () => {
    const stacks: (string | undefined)[] = [];
    on("gopark.wait.parked", (message) => stacks.push((message as WaitMessage).stack));
    bridged();
    const ch = new Channel<number>();
    function userWaits() {
      return ch.receive();
    }
    const first = userWaits();
    track("counters");
    const second = userWaits();
    track("full");
    ch.close();
    await Promise.all([first, second]);
    expect(stacks).toEqual([expect.stringMatching(/^\s*at userWaits /), undefined]);
  });

  test("that parked before anyone subscribed, or before the bridge, are not published when they end", async () => {
    const ch = new Channel<number>();
    const waits = [ch.receive()];
    bridged();
    waits.push(ch.receive());
    const seen = log();
    waits.push(ch.receive());
    ch.close();
    await Promise.all(waits);
    expect(seen).toEqual(["+chan receive", "-chan receive false"]);
  });

  test("are seen by a subscriber to the end alone", async () => {
    const kinds: string[] = [];
    on("gopark.wait.unparked", (message) => kinds.push((message as WaitMessage).kind));
    bridged();
    const ch = new Channel<number>();
    const waiting = ch.receive();
    ch.close();
    await waiting;
    expect(kinds).toEqual(["chan receive"]);
  });
});

describe("tasks", () => {
  function log(): [string, TaskMessage & { result?: unknown; error?: unknown }][] {
    const seen: [string, TaskMessage][] = [];
    for (const event of ["start", "end", "asyncStart", "asyncEnd", "error"]) {
      on(`tracing:gopark.task:${event}`, (message) => seen.push([event, message as TaskMessage]));
    }
    return seen;
  }

  test("are published as a tracing channel shows a call", async () => {
    const seen = log();
    bridged();
    expect(await go(async () => 5)).toBe(5);
    expect(seen.map(([event]) => event)).toEqual(["start", "end", "asyncStart", "asyncEnd"]);
    expect(new Set(seen.map(([, message]) => message)).size).toBe(1);
    expect(seen[0]?.[1]).toMatchObject({ result: 5, stack: expect.stringContaining("trace.node.test.ts") });
  });

  test("that fail are published with their error", async () => {
    const seen = log();
    bridged();
    const boom = new Error("boom");
    await expect(go(() => Promise.reject(boom))).rejects.toBe(boom);
    const thrown = go(() => {
      throw boom;
    });
    await expect(thrown).rejects.toBe(boom);
    expect(seen.filter(([event]) => event === "error").map(([, { error }]) => error)).toEqual([boom, boom]);
  });

  test("that return no promise, or a foreign one, are the same tasks", async () => {
    const seen = log();
    bridged();
    let asked = 0;
    const foreign = {
      get then() {
        asked++;
        return (resolve: (value: number) => void) => resolve(7);
      },
    } as unknown as PromiseLike<number>;
    expect([await go(() => 6), await go(() => foreign), asked]).toEqual([6, 7, 1]);
    expect(seen.filter(([event]) => event === "asyncEnd").map(([, { result }]) => result)).toEqual([6, 7]);
  });

  test("give a store to those that bind one to the start", async () => {
    const store = new AsyncLocalStorage<string>();
    const starts = tracingChannel("gopark.task").start;
    starts.bindStore(store, () => "span");
    cleanups.push(() => void starts.unbindStore(store));
    bridged();
    const seen: unknown[] = [];
    await go(async () => {
      seen.push(store.getStore());
      await turn();
      seen.push(store.getStore());
    });
    expect(seen).toEqual(["span", "span"]);
    expect(store.getStore()).toBeUndefined();
  });
});

describe("bridge", () => {
  test("without a subscriber runs tasks and waits as they are", async () => {
    bridged();
    const ch = new Channel<number>();
    const waiting = go(() => ch.receive());
    await turn();
    ch.close();
    expect(await waiting).toEqual({ value: undefined, ok: false });
    expect(channel("gopark.wait.parked").hasSubscribers).toBe(false);
  });

  test("ends, once", async () => {
    track("counters");
    const kinds: string[] = [];
    on("gopark.wait.parked", (message) => kinds.push((message as WaitMessage).kind));
    const ends = [bridged(), bridged()];
    const ch = new Channel<number>();
    const waits = [ch.receive()];
    ends[0]?.();
    ends[0]?.();
    waits.push(ch.receive());
    ends[1]?.();
    waits.push(ch.receive());
    ch.close();
    await Promise.all(waits);
    expect(kinds).toHaveLength(3);
    expect([isObserved(), toWatch()]).toEqual([false, undefined]);
    track("full");
  });

  test("lets a subscriber throw, whose error Node reports", async () => {
    const boom = new Error("boom");
    for (const name of ["gopark.wait.parked", "gopark.wait.unparked", "tracing:gopark.task:start"]) {
      on(name, () => {
        throw boom;
      });
    }
    bridged();
    const ch = new Channel<number>();
    const errors: unknown[] = [];
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException").on("uncaughtException", (error) => errors.push(error));
    try {
      const task = go(() => ch.receive());
      await turn();
      ch.trySend(1);
      expect(await task).toEqual({ value: 1, ok: true });
      await reportsDue();
    } finally {
      process.removeAllListeners("uncaughtException");
      for (const listener of listeners) process.on("uncaughtException", listener);
    }
    expect(errors).toEqual([boom, boom, boom]);
  });

  test("does not hide an error that nobody handles", async () => {
    on("tracing:gopark.task:start", () => {});
    bridged();
    const boom = new Error("boom");
    const unhandled = await unhandledDuring(async () => {
      void go(() => Promise.reject(boom));
      await turn();
    });
    expect(unhandled).toEqual([boom]);
  });
});

test("a leak is proved during a recording and under a bridge, too", async () => {
  const lines = await child(`
    const { subscribe } = await import("node:diagnostics_channel");
    const { start } = await import("gopark/trace");
    const { bridge } = await import("gopark/trace/node");
    subscribe("gopark.wait.parked", () => {});
    const end = bridge();
    const recording = start();
    leak.track("full");
    const proved = [];
    leak.onProved(({ kind }) => proved.push(kind));
    (() => void go(() => new Channel().receive()))();
    await turn();
    console.log(await collectUntil(() => proved.length > 0), proved.join());
    console.log(recording.stop().traceEvents.filter(({ ph, args }) => ph === "b" && args.open).length);
    end();
  `);
  expect(lines).toEqual(["true chan receive", "2"]);
});

test("where the host has no such module it says what it needs, and a recording does without async contexts", async () => {
  const lines = await child(`
    const { start } = await import("gopark/trace");
    const node = await import("gopark/trace/node");
    process.getBuiltinModule = undefined;
    try {
      node.bridge();
    } catch (error) {
      console.log(error.message);
    }
    const recording = start();
    const ch = new Channel();
    const task = go(() => ch.receive());
    await turn();
    ch.close();
    await task;
    for (const { ph, name, cat, id } of recording.stop().traceEvents) if ("bsf".includes(ph)) console.log(name, cat, id);
  `);
  expect(lines).toEqual([
    "bridge: node:diagnostics_channel with tracingChannel is not here; it needs Node 20.16 or later",
    "chan receive wait 1",
    "task task 2",
  ]);
});
