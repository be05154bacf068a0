/** Objects made by `Object.create(ctx)` that have methods of their own: contexts below them ask those methods. */
import {
  background,
  type CancelScope,
  type Context,
  contextKey,
  withCancel,
  withoutCancel,
  withTimeout,
  withValue,
} from "gopark/context";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

const key = contextKey<string>("key");
const other = contextKey<number>("other");

let root: CancelScope;
beforeEach(() => {
  vi.useFakeTimers();
  root = withCancel(background());
});
afterEach(() => root.cancel());

/** A context of each class of ours. Each has the value "inherited". */
const contexts: Record<string, (parent: Context) => Context> = {
  withValue: (parent) => parent,
  withCancel: (parent) => withCancel(parent).ctx,
  withTimeout: (parent) => withTimeout(parent, 1000).ctx,
  withoutCancel: (parent) => withoutCancel(parent),
};

/** An object that inherits from `ctx`, with these properties of its own. */
function derived(ctx: Context, own: Partial<Context>): Context {
  return Object.create(ctx, Object.getOwnPropertyDescriptors(own)) as Context;
}

describe.each(Object.entries(contexts))("below an object that inherits from a context of %s", (_, make) => {
  test("a value is looked up by its own method, if it has one", () => {
    const ctx = make(withValue(root.ctx, key, "inherited"));
    const value = ((k: unknown) => (k === key ? "own" : ctx.value(k))) as Context["value"];
    const looked = [derived(ctx, {}), derived(ctx, { value })].flatMap((parent) => {
      const [child, cancel] = withCancel(parent);
      cancel();
      return [withValue(parent, other, 1), child, withoutCancel(parent)].map((below) => below.value(key));
    });
    expect(looked).toEqual(["inherited", "inherited", "inherited", "own", "own", "own"]);
  });

  test("the deadline is that of its own method, if it has one", () => {
    const at = Date.now() + 5;
    const own = derived(make(withValue(root.ctx, key, "inherited")), { deadline: () => at });
    const [child, cancel] = withCancel(own);
    cancel();
    expect([withValue(own, other, 1).deadline(), child.deadline()]).toEqual([at, at]);
  });
});

test("a value's context below an object with an err, a done and a signal of its own has those", () => {
  const error = new Error("own");
  const { signal } = new AbortController();
  const done = root.ctx.done();
  const own = derived(withValue(background(), key, "inherited"), { err: () => error, done: () => done, signal });
  const below = withValue(own, other, 1);
  expect([below.err(), below.done() === done, below.signal === signal]).toEqual([error, true, true]);
});
