/** Groups tied to a block: `await using` and `scope` leave nothing running behind them. */
import { Channel } from "gopark/channel";
import { background, type Context, cause } from "gopark/context";
import { scope, withContext } from "gopark/errgroup";
import { describe, expect, test } from "vitest";
import { turn } from "./support/turn.ts";

const doom = new Error("group_test: doomed");

describe("await using", () => {
  /** Leaves a block whose group runs a task that, once cancelled, takes a turn to clean up and then `end`s. */
  const dispose = async (end: (ctx: Context) => unknown) => {
    const log: string[] = [];
    const block = async () => {
      const [g, ctx] = withContext(background());
      await using _ = g;
      await g.go(async () => {
        await ctx.done()?.receive();
        await turn();
        log.push("cleaned up");
        await end(ctx);
      });
    };
    await block();
    return log;
  };

  test("cancels, and waits for the tasks", async () => {
    expect(await dispose(() => {})).toEqual(["cleaned up"]);
  });

  test("passes a task's error on, but not what it made of the cancel", async () => {
    await expect(dispose(() => Promise.reject(doom))).rejects.toBe(doom);
    expect(await dispose((ctx) => Promise.reject(ctx.err()))).toEqual(["cleaned up"]);
  });
});

describe("scope", () => {
  test("answers what its body answers, after all tasks have ended", async () => {
    const log: string[] = [];
    const answer = await scope(background(), async (g) => {
      await g.go(async () => {
        await turn();
        log.push("task");
      });
      log.push("body");
      return 42;
    });
    expect([answer, log]).toEqual([42, ["body", "task"]]);
  });

  test.each([undefined, null])(
    "a body that throws %o fails with that, whatever the tasks make of it",
    async (thrown) => {
      const failing = scope(background(), async (g, ctx) => {
        await g.go(async () => {
          await ctx.done()?.receive();
          throw doom;
        });
        throw thrown;
      });
      expect(await failing.catch((err) => [err])).toEqual([thrown]);
    },
  );

  test("a body that throws cancels the tasks, waits for them, and its error wins over theirs", async () => {
    let ended = false;
    const failing = scope(background(), async (g, ctx) => {
      await g.go(async () => {
        await ctx.done()?.receive();
        await turn();
        ended = true;
        throw new Error("task's error");
      });
      throw doom;
    });
    await expect(failing).rejects.toBe(doom);
    expect(ended).toBe(true);
  });

  test("a body that fails only because a task did rejects with the task's error", async () => {
    const failing = scope(background(), async (g, ctx) => {
      await g.go(() => Promise.reject(doom));
      await new Channel<void>().receive(ctx);
    });
    await expect(failing).rejects.toBe(doom);
  });

  test("a task that fails fails the scope, and its context says why", async () => {
    let why: unknown;
    const failing = scope(background(), async (g, ctx) => {
      await g.go(() => Promise.reject(doom));
      await ctx.done()?.receive();
      why = cause(ctx);
      return "body was content";
    });
    await expect(failing).rejects.toBe(doom);
    expect(why).toBe(doom);
  });
});

test("a body's error whose cause cannot be read is the scope's, though a task has failed too", async () => {
  const unreadable = Object.defineProperty(new Error("body"), "cause", {
    get() {
      throw new Error("getter");
    },
  });
  const scoped = scope(background(), async (group, ctx) => {
    group.go(() => Promise.reject(new Error("task")));
    await ctx.done()?.receive();
    throw unreadable;
  });
  await expect(scoped).rejects.toBe(unreadable);
});

test("a scope with a limit runs at most that many tasks at once", async () => {
  let running = 0;
  let most = 0;
  const work = async () => {
    most = Math.max(most, ++running);
    await turn();
    running--;
  };
  const run = (limit?: number) =>
    scope(
      background(),
      async (g) => {
        for (let i = 0; i < 6; i++) await g.go(work);
        return "done";
      },
      limit === undefined ? {} : { limit },
    );
  expect(await scope(background(), () => "ran", null as never)).toBe("ran");
  for (const [limit, wanted] of [
    [2, 2],
    [Number.POSITIVE_INFINITY, 6],
    [undefined, 6],
  ] as const) {
    most = 0;
    expect([await run(limit), most]).toEqual(["done", wanted]);
  }
});
