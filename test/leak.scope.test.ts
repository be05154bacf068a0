/** Scopes: what is made in one is told apart from all else, at the same time and afterwards. */
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { go } from "gopark/go";
import { find, type LeakError, Scope, scoped, track, verifyNone } from "gopark/leak";
import { afterFunc } from "gopark/time";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { turn } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";

beforeEach(() => track("full"));
afterEach(() => track("full"));

test("scoped resolves with the result, if nothing is left", async () => {
  await expect(scoped(() => 1)).resolves.toBe(1);
  await expect(scoped(async () => await go(() => "done"))).resolves.toBe("done");
});

test("a promise that begins its work when it is awaited does so in the scope", async () => {
  const ch = new Channel<number>();
  const lazy: PromiseLike<number> = {
    then(done) {
      void ch.receive();
      return Promise.resolve(1).then(done);
    },
  };
  await expect(scoped(() => lazy, { timeout: 0 })).rejects.toThrow("found unexpected leaks: 1 chan receive");
  ch.close();
});

test("of two that run at the same time, the one that leaks fails alone", async () => {
  const leaked = new Channel<number>();
  const shared = new Channel<number>();
  const good = scoped(async () => (await shared.receive()).value);
  const bad = scoped(
    async () => {
      await turn();
      void leaked.receive();
      shared.trySend(1);
    },
    { timeout: 0 },
  );
  await expect(bad).rejects.toThrow("found unexpected leaks: 1 chan receive");
  await expect(good).resolves.toBe(1);
  // Nor does it fail one that comes later, nor the check of what is in no scope.
  await scoped(() => {}, { timeout: 0 });
  leaked.close();
});

test("what is made later, in callbacks that began in the scope, is in it", async () => {
  const ch = new Channel<number>();
  const scope = new Scope();
  scope.run(() => {
    setImmediate(() => void ch.receive());
    Promise.resolve().then(() => void ch.receive());
  });
  void ch.receive();
  await turn();
  vi.useFakeTimers();
  scope.run(() => afterFunc(20, () => void ch.receive()));
  await vi.advanceTimersByTimeAsync(30);
  expect(find({ scope })).toHaveLength(3);
  expect(find()).toHaveLength(4);
  ch.close();
});

test("a scope within another belongs to it, and not the other way", async () => {
  const ch = new Channel<number>();
  const outer = new Scope();
  const inner = outer.run(() => new Scope());
  expect(inner.parent).toBe(outer);
  expect(outer.parent).toBeUndefined();
  outer.run(() => void ch.receive());
  inner.run(() => void ch.receive());
  expect(find({ scope: outer })).toHaveLength(2);
  expect(find({ scope: inner })).toHaveLength(1);
  ch.close();
});

test("the error of the function comes before any leak", async () => {
  const ch = new Channel<number>();
  const failed = scoped(() => {
    void ch.receive();
    throw new Error("mine");
  });
  await expect(failed).rejects.toThrow("mine");
  ch.close();
});

test("options leave out here too", async () => {
  const ch = new Channel<number>();
  await scoped(() => void ch.receive(), { kinds: ["chan receive"], timeout: 0 });
  ch.close();
});

test("without full tracking not all could be found, so scoped refuses, and does not call the function", async () => {
  for (const level of ["counters", "sampled"] as const) {
    track(level);
    const fn = vi.fn();
    await expect(scoped(fn)).rejects.toThrow('scoped: not everything is recorded: call leak.track("full") first');
    expect(fn).not.toHaveBeenCalled();
  }
});

test("with another level meanwhile not all could be found, so scoped rejects, if nothing is found", async () => {
  const message =
    'scoped: not everything was recorded: track() has been called meanwhile, with another level than "full"';
  const ch = new Channel<number>();
  for (const level of ["counters", "sampled"] as const) {
    const lowered = scoped(() => {
      track(level);
      void ch.receive();
      track("full");
    });
    await expect(lowered).rejects.toThrow(message);
    await expect(scoped(() => track(level))).rejects.toThrow(message);
    track("full");
    const found = scoped(
      () => {
        void ch.receive();
        track(level);
      },
      { timeout: 0 },
    );
    await expect(found).rejects.toThrow("found unexpected leaks: 1 chan receive");
    track("full");
  }
  await expect(scoped(() => track("full", { frames: 3 }))).resolves.toBeUndefined();
  ch.close();
});

test("a leak that is proved is reported in its scope, once, and in no other", async () => {
  const left = new Scope();
  const other = new Scope();
  left.run(() => void withCancel(background()));
  expect(await collectUntil(() => find({ scope: left })[0]?.proved === true)).toBe(true);
  expect(find({ scope: other })).toEqual([]);
  await verifyNone({ scope: other, timeout: 0 });
  const error = await verifyNone({ scope: left, timeout: 0 }).catch((reason: unknown) => reason);
  expect((error as LeakError).leaks).toMatchObject([{ kind: "context", proved: true }]);
  await verifyNone({ scope: left, timeout: 0 });
});

test("a host without AsyncLocalStorage is told so", async () => {
  vi.resetModules();
  vi.spyOn(process, "getBuiltinModule").mockReturnValue(undefined as never);
  const { Scope: Fresh } = await import("../src/leak.ts");
  expect(() => new Fresh()).toThrow("leak: a scope needs AsyncLocalStorage: Node from 20.16, Bun, or Deno");
});
