/** Which error a group rejects with, and that none is lost. */
import { EventEmitter, once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { Channel } from "gopark/channel";
import { background, Canceled, type Context, cause, withCancel, withTimeout } from "gopark/context";
import { type Group, scope, withContext } from "gopark/errgroup";
import { describe, expect, test } from "vitest";
import { child } from "./support/child.ts";
import { runners } from "./support/source.ts";
import { turn, turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const doom = new Error("doomed");
const HOUR = 3_600_000;

describe("the error of a group without a wait is reported, and the group is collected,", () => {
  /** Tasks that fail with an error made inside, and what is expected to be reported. */
  const failures: Record<string, string> = {
    "made before the group": "() => { throw made; }",
    "made beside the group": "(() => { const made = new Error('lost'); return () => { throw made; }; })()",
    "made by the task's first step": "() => { throw new Error('lost'); }",
    "made after an await": "async () => { await turn(); throw new Error('lost'); }",
    "made by a method of an object that knows the group":
      "(() => { const owner = { g, fail() { throw new Error('lost'); } }; return () => owner.fail(); })()",
    "with a cause made inside": "() => { throw new Error('lost', { cause: new Error('cause') }); }",
    "with a cause made after an await":
      "async () => { await turn(); throw new Error('lost', { cause: new Error('cause') }); }",
    "of several made inside": "() => { throw new AggregateError([new Error('one'), new Error('two')], 'lost'); }",
    "with a stack that was never looked at, from deep inside":
      "() => (function deep(n) { if (n === 0) throw new TypeError('lost'); deep(n - 1); })(5)",
  };

  test.each(Object.entries(failures))("%s", async (_, task) => {
    const code = `
      const made = new Error("lost");
      const reported = [];
      process.on("unhandledRejection", (reason) => reported.push(reason.message));
      let collected = 0;
      const registry = new FinalizationRegistry(() => collected++);
      const drop = () => {
        const g = new errgroup.Group();
        registry.register(g, undefined);
        void g.go(${task});
        const [h, ctx] = errgroup.withContext(context.background());
        registry.register(h, undefined);
        (() => {
          const g = h;
          void g.go(${task});
        })();
      };
      drop();
      for (let i = 0; i < 3; i++) await turn();
      await collectUntil(() => reported.length === 2 && collected === 2);
      console.log(reported.join(), collected);`;
    expect(await child(code)).toEqual(["lost,lost 2"]);
  });

  test("but not if there was a wait", async () => {
    const code = `
      const reported = [];
      process.on("unhandledRejection", (reason) => reported.push(reason.message));
      const waited = async () => {
        const g = new errgroup.Group();
        void g.go(() => { throw new Error("waited"); });
        await g.wait().catch(() => {});
      };
      await waited();
      await collectUntil(() => reported.length > 0);
      console.log(reported.length);`;
    expect(await child(code)).toEqual(["0"]);
  });
});

/** Things of the host that take a signal; each fails with an AbortError of its own once that is aborted. */
const native: Record<string, (ctx: Context) => Promise<unknown>> = {
  "a delay of node:timers": (ctx) => delay(HOUR, undefined, { signal: ctx.signal }),
  "an event of node:events": (ctx) => once(new EventEmitter(), "never", { signal: ctx.signal }),
  "a delay under a child context": async (ctx) => {
    using child = withTimeout(ctx, HOUR);
    await delay(HOUR, undefined, { signal: child.ctx.signal });
  },
};

/** Leaves a block whose group runs `task`. */
async function left(task: (ctx: Context) => unknown, before: (g: Group, ctx: Context) => unknown = () => {}) {
  const [g, ctx] = withContext(background());
  await using _ = g;
  await g.go(() => task(ctx));
  await before(g, ctx);
}

describe("leaving a block with `await using`", () => {
  test.each(Object.entries(native))("is content with what %s made of the cancel", async (_, wait) => {
    await left(wait);
    await left((ctx) => wait(ctx).finally(turn), turn);
  });

  test.each<[string, (ctx: Context) => unknown]>([
    ["the context's error", (ctx) => Promise.reject(ctx.err())],
    ["the signal's reason", (ctx) => Promise.reject(ctx.signal.reason)],
    ["what a wait on a child rejects with", (ctx) => new Channel<void>().receive(withCancel(ctx).ctx)],
    ["what a wait on the signal rejects with", (ctx) => new Channel<void>().receive(ctx.signal)],
  ])("is content with %s", async (_, end) => {
    await left(async (ctx) => {
      await ctx.done()?.receive();
      await turn();
      await end(ctx);
    });
  });

  test.each<[string, () => unknown]>([
    ["a foreign Canceled", () => foreignCanceled()],
    ["an error made of a foreign Canceled", () => new Error("closing failed", { cause: foreignCanceled() })],
    ["a Canceled made by hand", () => new Canceled()],
    ["an AbortError without a cause", () => new DOMException("aborted", "AbortError")],
    ["undefined", () => undefined],
  ])("passes on a failure that the cancel did not make: %s", async (_, make) => {
    const failure = make();
    const failing = left(async (ctx) => {
      await ctx.done()?.receive();
      throw failure;
    });
    expect(await failing.then(null, (error: unknown) => [error])).toEqual([failure]);
  });

  test("passes on a failure from before the cancel, whatever it is", async () => {
    const failure = foreignCanceled();
    await expect(
      left(
        () => Promise.reject(failure),
        () => turns(2),
      ),
    ).rejects.toBe(failure);
  });

  test("passes on what a task makes of the parent's end, which came before the cancel", async () => {
    const parent = withCancel(background());
    const block = async () => {
      const [g, ctx] = withContext(parent.ctx);
      await using _ = g;
      await g.go(async () => {
        await ctx.done()?.receive();
        await turn();
        throw ctx.err();
      });
      parent.cancel(doom);
    };
    const error = await block().catch((error: unknown) => error);
    expect(error).toBeInstanceOf(Canceled);
    expect(error).toBe(parent.ctx.err());
  });
});

/** The error of a context that has nothing to do with any group. */
function foreignCanceled(): Error {
  const { ctx, cancel } = withCancel(background());
  cancel(new Error("of another"));
  return ctx.err() as Error;
}

describe("a scope whose task fails", () => {
  test.each(Object.entries(native))("rejects with the task's error if its body then fails in %s", async (_, wait) => {
    const failing = scope(background(), async (g, ctx) => {
      await g.go(() => Promise.reject(doom));
      await wait(ctx);
    });
    await expect(failing).rejects.toBe(doom);
  });

  test("rejects with the body's error if that has nothing to do with the task's", async () => {
    const failure = foreignCanceled();
    const failing = scope(background(), async (g, ctx) => {
      await g.go(() => Promise.reject(doom));
      await ctx.done()?.receive();
      throw failure;
    });
    await expect(failing).rejects.toBe(failure);
  });
});

describe("a scope whose body fails", () => {
  test.each(Object.entries(native))("rejects with its error, whatever a task makes of it in %s", async (_, wait) => {
    const failing = scope(background(), async (g, ctx) => {
      await g.go(() => wait(ctx));
      await turn();
      throw doom;
    });
    await expect(failing).rejects.toBe(doom);
  });

  test.each(Object.entries(native))("because the parent ended rejects with what %s made of it", async (_, wait) => {
    const parent = withCancel(background());
    const failing = scope(parent.ctx, (_, ctx) => wait(ctx));
    parent.cancel(doom);
    const error = (await failing.then(null, (error: unknown) => error)) as Error;
    expect(error.name).toBe("AbortError");
    expect(error.cause).toBe(parent.ctx.err());
  });
});

describe.each(["map", "forEach"] as const)("%s", (name) => {
  const run = runners[name];

  /** Runs until the first call is under way, cancels the caller's context, and returns the outcome. */
  async function cancelled(fail: (ctx: Context) => unknown, limit: number, items: number): Promise<[unknown, Context]> {
    const { ctx, cancel } = withCancel(background());
    const work = async (_: number, inner: Context) => {
      await inner.done()?.receive();
      throw fail(ctx);
    };
    const numbers = Array.from({ length: items }, (_, i) => i);
    const done = watch(run(ctx, numbers, work, { limit }));
    await turn();
    cancel(doom);
    await turns(2);
    expect(done.state).toBe("rejected");
    return [done.reason, ctx];
  }

  const limits = [1, 4].flatMap((limit) => [1, 3, 8].map((items) => [limit, items] as const));

  test.each(limits)(
    "limit %d, %d items: the end of the caller's context is its error, though fn throws the cause",
    async (limit, items) => {
      const [error, ctx] = await cancelled((ctx) => cause(ctx), limit, items);
      expect(error).toBe(ctx.err());
    },
  );

  test.each(limits)(
    "limit %d, %d items: the end of the caller's context is its error, whatever fn throws",
    async (limit, items) => {
      for (const thrown of [undefined, new Error("of fn"), foreignCanceled()]) {
        const [error, ctx] = await cancelled(() => thrown, limit, items);
        expect(error).toBe(ctx.err());
      }
    },
  );

  test.each([1, 4])(
    "limit %d: the end of the caller's context is its error, though a native call made another of it",
    async (limit) => {
      const { ctx, cancel } = withCancel(background());
      const done = watch(run(ctx, [1, 2], (_, inner) => delay(HOUR, undefined, { signal: inner.signal }), { limit }));
      await turn();
      cancel(doom);
      await turns(2);
      expect(done.reason).toBe(ctx.err());
    },
  );

  test.each([
    ["undefined", undefined],
    ["null", null],
    ["an error", doom],
    ["a foreign Canceled", foreignCanceled()],
  ])("%s thrown by fn is not overtaken by a later end of the caller's context", async (_, thrown) => {
    for (const limit of [2, 4]) {
      const { ctx, cancel } = withCancel(background());
      let end = () => {};
      const later = new Promise<void>((resolve) => {
        end = resolve;
      });
      const work = (item: number) => (item === 0 ? Promise.reject(thrown) : later);
      const done = watch(run(ctx, [0, 1], work, { limit }));
      await turns(2);
      cancel(new Error("too late"));
      await turn();
      end();
      await turns(2);
      expect([done.state, done.reason]).toEqual(["rejected", thrown]);
      expect(done.reason).toBe(thrown);
    }
  });
});

describe("an error whose parts throw when they are read is the group's error all the same:", () => {
  const hostile = (part: "stack" | "cause") => {
    const error = new Error("task failed");
    Object.defineProperty(error, part, {
      get() {
        throw new Error("not to be read");
      },
    });
    return error;
  };

  test.each(["stack", "cause"] as const)("%s", async (part) => {
    const error = hostile(part);
    const [group, ctx] = withContext(background());
    await group.go(() => {
      throw error;
    });
    expect(await group.wait().catch((err: unknown) => err)).toBe(error);
    expect(ctx.err()).toBeInstanceOf(Canceled);
  });
});
