/** Groups of tasks: the behaviour pinned by x/sync's own tests and examples, then limits, errors and contexts. */

import { AsyncLocalStorage } from "node:async_hooks";
import { Channel } from "gopark/channel";
import { background, Canceled, type Context, cause, withCancel } from "gopark/context";
import { Group, scope, withContext } from "gopark/errgroup";
import { describe, expect, test } from "vitest";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const doom = new Error("group_test: doomed");

/** A task that fails with the error, or succeeds without one. */
const ending = (error: Error | undefined) => async () => {
  if (error !== undefined) throw error;
};

describe("as upstream", () => {
  const err1 = new Error("errgroup_test: 1");
  const err2 = new Error("errgroup_test: 2");

  test.each([
    { errs: [] },
    { errs: [undefined] },
    { errs: [err1] },
    { errs: [err1, undefined] },
    { errs: [err1, undefined, err2] },
  ])("ZeroGroup: each wait rejects with the first error there ever was: $errs", async ({ errs }) => {
    const g = new Group();
    let first: Error | undefined;
    for (const err of errs) {
      await g.go(ending(err));
      first ??= err;
      const waited = watch(g.wait());
      await turn();
      expect([waited.state, waited.reason]).toEqual([first ? "rejected" : "fulfilled", first]);
    }
  });

  const outcomes = [
    { errs: [], want: undefined },
    { errs: [undefined], want: undefined },
    { errs: [doom], want: doom },
    { errs: [doom, undefined], want: doom },
  ];

  test.each(outcomes)("WithContext: wait ends the context, with or without an error: $errs", async ({ errs, want }) => {
    const [g, ctx] = withContext(background());
    for (const err of errs) await g.go(ending(err));

    expect(await g.wait().catch((error) => error)).toBe(want);

    expect(ctx.err()).toBeInstanceOf(Canceled);
    expect(ctx.done()?.tryReceive()).toEqual({ value: undefined, ok: false });
  });

  test.each(outcomes)("CancelCause: the first error is the context's cause: $errs", async ({ errs, want }) => {
    const [g, ctx] = withContext(background());
    for (const err of errs) g.tryGo(ending(err));

    await g.wait().catch(() => {});

    if (want === undefined) expect(cause(ctx)).toBe(ctx.err());
    else expect(cause(ctx)).toBe(want);
  });

  test("TryGo: refuses what is over the limit, which can be changed while nothing runs", async () => {
    const g = new Group();
    const gate = new Channel<void>();
    const open = async (n: number) => {
      for (let i = 0; i < n; i++) await gate.receive();
    };
    const task = () => gate.send();
    g.setLimit(42);
    for (let i = 0; i < 42; i++) expect(g.tryGo(task)).toBe(true);
    expect(g.tryGo(task)).toBe(false);
    await Promise.all([g.wait(), open(42)]);

    expect(g.tryGo(task)).toBe(true);
    await Promise.all([g.wait(), open(1)]);

    g.setLimit(1);
    expect([g.tryGo(task), g.tryGo(task)]).toEqual([true, false]);
    await Promise.all([g.wait(), open(1)]);

    g.setLimit(0);
    for (let i = 0; i < 1024; i++) expect(g.tryGo(task)).toBe(false);
    await g.wait();
  });

  test("GoLimit: never more tasks at once than the limit, and as many when there is work", async () => {
    const g = new Group();
    g.setLimit(10);
    let active = 0;
    let most = 0;
    for (let i = 0; i <= 1024; i++) {
      await g.go(async () => {
        most = Math.max(most, ++active);
        if (i % 8 === 0) await turn();
        active--;
      });
    }
    await g.wait();
    expect([active, most]).toEqual([0, 10]);
  });

  test("JustErrors: a group in place of a counter of tasks", async () => {
    const fetched: string[] = [];
    const fetchURL = async (url: string) => {
      if (url.includes("somestupidname")) throw new Error(`no such host: ${url}`);
      fetched.push(url);
    };
    const g = new Group();
    for (const host of ["golang.org", "google.com", "somestupidname.com"]) {
      await g.go(() => fetchURL(`http://www.${host}/`));
    }

    await expect(g.wait()).rejects.toThrow("no such host: http://www.somestupidname.com/");
    expect(fetched).toHaveLength(2);
  });

  test("Parallel: results by index, the context handed down", async () => {
    const search = (kind: string) => async (ctx: Context, query: string) => {
      expect(ctx.err()).toBeUndefined();
      return `${kind} result for "${query}"`;
    };
    const google = async (parent: Context, query: string) => {
      const [g, ctx] = withContext(parent);
      const results: string[] = [];
      for (const [i, find] of [search("web"), search("image"), search("video")].entries()) {
        await g.go(async () => {
          results[i] = await find(ctx, query);
        });
      }
      await g.wait();
      return results;
    };

    expect(await google(background(), "golang")).toEqual([
      'web result for "golang"',
      'image result for "golang"',
      'video result for "golang"',
    ]);
  });

  /** Walks names, digests them in ten tasks, and collects: any error stops all stages. */
  const digestAll = (parent: Context, names: string[], digest: (name: string) => number) =>
    scope(parent, async (g, ctx) => {
      const paths = new Channel<string>();
      await g.go(async () => {
        try {
          for (const name of names) await paths.send(name, ctx);
        } finally {
          paths.close();
        }
      });
      const results = new Channel<[string, number]>();
      const [workers, inner] = withContext(ctx);
      for (let i = 0; i < 10; i++) {
        await workers.go(async () => {
          for await (const name of paths.values(inner)) await results.send([name, digest(name)], inner);
        });
      }
      await g.go(() => workers.wait().finally(() => results.close()));
      const digests = new Map<string, number>();
      for await (const [name, sum] of results.values(ctx)) digests.set(name, sum);
      return digests;
    });

  test("Pipeline: stages joined by channels in one group end together", async () => {
    const names = Array.from({ length: 100 }, (_, i) => "x".repeat(i));
    const digests = await digestAll(background(), names, (name) => name.length);
    expect(digests.size).toBe(100);
    expect(digests.get("xxx")).toBe(3);
  });

  test("Pipeline: one failing stage stops the others", async () => {
    const names = Array.from({ length: 100 }, (_, i) => `${i}`);
    const digested: string[] = [];
    const failing = digestAll(background(), names, (name) => {
      if (name === "40") throw doom;
      return digested.push(name);
    });
    await expect(failing).rejects.toBe(doom);
    expect(digested.length).toBeLessThan(99);
  });
});

describe("limits", () => {
  test("go waits for a slot in arrival order: this is how a limit pushes back", async () => {
    const g = new Group();
    g.setLimit(1);
    const gates: (() => void)[] = [];
    const started: number[] = [];
    const returned: number[] = [];
    for (let i = 0; i < 3; i++) {
      const task = () => {
        started.push(i);
        return new Promise<void>((open) => gates.push(open));
      };
      void g.go(task).then(() => returned.push(i));
    }

    for (let n = 1; n <= 3; n++) {
      await turn();
      expect([started, returned]).toEqual([[0, 1, 2].slice(0, n), [0, 1, 2].slice(0, n)]);
      gates[n - 1]?.();
    }
    await g.wait();
  });

  test("tryGo does not overtake a go that waits", async () => {
    const g = new Group();
    g.setLimit(1);
    let open = () => {};
    await g.go(() => new Promise<void>((resolve) => (open = resolve)));
    const order: string[] = [];
    const parked = g.go(() => void order.push("go"));

    open();
    while (order.length === 0) {
      if (g.tryGo(() => void order.push("tryGo"))) break;
      await Promise.resolve();
    }
    await parked;
    await g.wait();

    expect(order[0]).toBe("go");
  });

  test("the limit of a group with limited tasks cannot change; that of an idle one can, and be lifted", async () => {
    const g = new Group();
    g.setLimit(2);
    let open = () => {};
    await g.go(() => new Promise<void>((resolve) => (open = resolve)));
    const text = "errgroup: modify limit while 1 goroutines in the group are still active";
    expect(() => g.setLimit(3)).toThrow(new Error(text));
    expect([g.tryGo(() => {}), g.tryGo(() => {})]).toEqual([true, false]);
    open();
    await g.wait();

    for (const none of [-1, Number.POSITIVE_INFINITY]) {
      g.setLimit(2);
      g.setLimit(none);
      expect(Array.from({ length: 100 }, () => g.tryGo(() => {})).every(Boolean)).toBe(true);
      await g.wait();
    }
  });

  test.each([-1, Number.POSITIVE_INFINITY])("setLimit(%d) lifts the limit while limited tasks run", async (none) => {
    const g = new Group();
    g.setLimit(1);
    let open = () => {};
    await g.go(() => new Promise<void>((resolve) => (open = resolve)));
    expect(g.tryGo(() => {})).toBe(false);
    g.setLimit(none);
    expect(g.tryGo(() => {})).toBe(true);
    open();
    await g.wait();
  });
});

test("a task runs in its caller's async context, not in that of the task whose end freed the slot", async () => {
  const tenant = new AsyncLocalStorage<string>();
  const g = new Group();
  g.setLimit(1);
  const seen: (string | undefined)[] = [];
  const task = async () => {
    seen.push(tenant.getStore());
    await turn();
    seen.push(tenant.getStore());
  };
  await Promise.all(["a", "b", "c"].map((name) => tenant.run(name, () => g.go(task))));
  await g.wait();
  expect(seen).toEqual(["a", "a", "b", "b", "c", "c"]);
});

describe("giving up", () => {
  test("a go that is cancelled while it waits for a slot never runs its task, and takes no slot", async () => {
    const g = new Group();
    g.setLimit(1);
    let open = () => {};
    await g.go(() => new Promise<void>((resolve) => (open = resolve)));
    const [caller, cancel] = withCancel(background());
    const ran: string[] = [];
    const given = watch(g.go(() => void ran.push("given up"), caller));
    const next = watch(g.go(() => void ran.push("next")));

    cancel();
    open();
    await turn();

    expect(given.reason).toBe(caller.err());
    expect(next.state).toBe("fulfilled");
    await g.wait();
    expect(ran).toEqual(["next"]);
  });

  test("grant, then cancel in one turn: the slot stays granted and the task runs", async () => {
    const g = new Group();
    g.setLimit(0);
    const [caller, cancel] = withCancel(background());
    const ran: string[] = [];
    const granted = watch(g.go(() => void ran.push("granted"), caller));

    g.setLimit(1);
    cancel();
    await turn();
    await g.wait();

    expect([granted.state, ran]).toEqual(["fulfilled", ["granted"]]);
  });

  test("cancel, then grant in one turn: the slot is for the next", async () => {
    const g = new Group();
    g.setLimit(0);
    const [caller, cancel] = withCancel(background());
    const ran: string[] = [];
    const given = watch(g.go(() => void ran.push("given up"), caller));
    const next = watch(g.go(() => void ran.push("next")));

    cancel();
    g.setLimit(1);
    await turn();
    await g.wait();

    expect([given.state, next.state, ran]).toEqual(["rejected", "fulfilled", ["next"]]);
    expect([g.tryGo(turn), g.tryGo(turn)]).toEqual([true, false]);
    await g.wait();
  });

  test("a caller's context that is done already wins, even where nothing need be waited for", async () => {
    const g = new Group();
    const [caller, cancel] = withCancel(background());
    cancel();
    const ran: string[] = [];
    await expect(g.go(() => void ran.push("task"), caller)).rejects.toBe(caller.err());
    await expect(g.wait(caller)).rejects.toBe(caller.err());
    await g.wait();
    expect(ran).toEqual([]);
  });

  test("a wait that is cancelled leaves the group going", async () => {
    const [g, ctx] = withContext(background());
    let open = () => {};
    await g.go(() => new Promise<void>((resolve) => (open = resolve)));
    const [caller, cancel] = withCancel(background());
    const waited = watch(g.wait(caller));
    cancel();
    await turn();
    expect(waited.reason).toBe(caller.err());
    expect(ctx.err()).toBeUndefined();
    open();
    await g.wait();
  });
});

describe("errors and contexts", () => {
  test("wait waits for the siblings of the task that failed", async () => {
    const [g, ctx] = withContext(background());
    const log: string[] = [];
    await g.go(async () => {
      await ctx.done()?.receive();
      await turn();
      log.push("sibling cleaned up");
    });
    await g.go(ending(doom));

    await expect(g.wait()).rejects.toBe(doom);
    expect(log).toEqual(["sibling cleaned up"]);
  });

  test("the first error wins, and later ones are dropped", async () => {
    const g = new Group();
    const gates = [0, 1].map(() => new Channel<void>());
    for (const [i, gate] of gates.entries()) {
      await g.go(async () => {
        await gate.receive();
        throw new Error(`${i}`);
      });
    }
    await gates[1]?.send();
    await gates[0]?.send();
    await expect(g.wait()).rejects.toThrow("1");
  });

  test("a parent's cancel reaches the tasks, and is not the group's own error", async () => {
    using parent = withCancel(background());
    const [g, ctx] = withContext(parent.ctx);
    const why = new Error("parent gave up");
    await g.go(async () => {
      await ctx.done()?.receive();
    });
    parent.cancel(why);
    await g.wait();
    expect(cause(ctx)).toBe(why);
  });

  test("a group without context runs its tasks to the end whatever fails", async () => {
    const g = new Group();
    let finished = false;
    await g.go(ending(doom));
    await g.go(async () => {
      await turn();
      finished = true;
    });
    await expect(g.wait()).rejects.toBe(doom);
    expect(finished).toBe(true);
  });

  test("a group is reusable after wait", async () => {
    const g = new Group();
    const ran: number[] = [];
    for (let i = 0; i < 3; i++) {
      await g.go(() => void ran.push(i));
      await g.wait();
    }
    expect(ran).toEqual([0, 1, 2]);
  });
});
