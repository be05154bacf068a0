/** Sharded map: a running update is counted, and a load runs only while a caller waits for it. */
import { background, type Cancel, withCancel } from "gopark/context";
import { counters, find, track, verifyNone } from "gopark/leak";
import { ShardMap } from "gopark/shardmap";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { loads } from "./support/loads.ts";
import { turn, turns } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const bg = background();
const doom = new Error("doomed");

// A failed test must not fail the next one.
let base = 0;
beforeEach(() => {
  base = 0;
  base = alive();
});
afterEach(() => track("full"));

/** How many things of the map's kinds are alive that were not when the test began. */
function alive(): number {
  let n = -base;
  for (const [kind, count] of Object.entries(counters())) if (kind.startsWith("shardmap")) n += count;
  return n;
}

/** An update that runs until the returned function is called. */
function updating(map: ShardMap<string, number>, key: string): { end: () => void; done: Promise<number> } {
  let end = () => {};
  const gate = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { end: () => end(), done: map.update(key, () => gate.then(() => 1)) };
}

describe("an update that runs", () => {
  test.each(["full", "counters"] as const)(
    "is counted, with or without a waiting caller, tracking %s",
    async (level) => {
      track(level);
      const map = new ShardMap<string, number>();
      const first = updating(map, "a");
      const other = updating(map, "b");
      await turn();
      expect(alive()).toBe(2);
      const next = map.update("a", () => 2);
      expect(alive()).toBe(3);
      first.end();
      await first.done;
      await next;
      expect(alive()).toBe(1);
      other.end();
      await other.done;
      expect(alive()).toBe(0);
    },
  );

  test("is found by verifyNone, with the line that asked for it", async () => {
    const map = new ShardMap<string, number>();
    const { end, done } = updating(map, "a");
    await turn();
    await expect(verifyNone()).rejects.toThrow(/found unexpected leaks: 1 shardmap/);
    const found = find().filter(({ kind }) => kind.startsWith("shardmap"));
    expect(found).toMatchObject([{ count: 1, proved: false }]);
    expect(found[0]?.stack).toContain("shardmap.loads.test.ts");
    end();
    await done;
  });

  test("is counted until it has ended, if it fails too", async () => {
    const map = new ShardMap<string, number>();
    const failed = watch(map.update("a", () => turn().then(() => Promise.reject(doom))));
    const thrown = watch(
      map.update("b", () => {
        throw doom;
      }),
    );
    expect(alive()).toBe(2);
    await turns(3);
    expect([failed.reason, thrown.reason, alive()]).toEqual([doom, doom, 0]);
  });
});

describe("a loader that asks for its own key with its own signal", () => {
  type Ask = (
    map: ShardMap<string, string>,
    inner: () => string,
  ) => (key: string, signal: AbortSignal) => Promise<string>;

  /** Ways to call. */
  const asks: Record<string, Ask> = {
    "at once": (map, inner) => (key, signal) => map.getOrLoad(key, inner, signal),
    later: (map, inner) => async (key, signal) => {
      await turn();
      return map.getOrLoad(key, inner, signal);
    },
    twice: (map, inner) => async (key, signal) => {
      const both = [map.getOrLoad(key, inner, signal), map.getOrLoad(key, inner, signal)];
      return (await Promise.all(both))[0] as string;
    },
    "by way of a loader of another key": (map, inner) => (key, signal) =>
      map.getOrLoad(
        "other",
        (_, other) => {
          other.addEventListener("abort", () => {});
          return map.getOrLoad(key, inner, signal);
        },
        signal,
      ),
  };

  describe.each(Object.entries(asks))("%s", (_, ask) => {
    test("does not keep the load alive once the caller has left; the next caller starts a new load", async () => {
      const map = new ShardMap<string, string>();
      const inner = vi.fn(() => "of the inner loader");
      const { ctx, cancel } = withCancel(bg);
      const caller = watch(map.getOrLoad("a", ask(map, inner), ctx));
      await turns(3);
      expect(caller.state).toBe("pending");
      cancel(doom);
      await turns(3);
      expect(caller.reason).toBe(ctx.err());
      expect([map.has("a"), alive()]).toEqual([false, 0]);
      expect(await map.getOrLoad("a", () => "fresh")).toBe("fresh");
      expect(map.get("a")).toBe("fresh");
      expect(inner).not.toHaveBeenCalled();
    });

    test("is forgotten when the last of several callers has left, not before", async () => {
      const map = new ShardMap<string, string>();
      const scopes = [withCancel(bg), withCancel(bg), withCancel(bg)];
      let signal: AbortSignal | undefined;
      const asking = ask(map, () => "of the inner loader");
      const load = (key: string, given: AbortSignal) => {
        signal = given;
        return asking(key, given);
      };
      const callers = scopes.map(({ ctx }) => watch(map.getOrLoad("a", load, ctx)));
      await turns(3);
      for (const [i, { ctx, cancel }] of scopes.entries()) {
        expect(signal?.aborted).toBe(false);
        cancel();
        await turns(2);
        expect(callers[i]?.reason).toBe(ctx.err());
      }
      expect(signal?.aborted).toBe(true);
      expect(alive()).toBe(0);
      expect(await map.getOrLoad("a", () => "fresh")).toBe("fresh");
    });
  });

  test("without waiting for the answer ends as any other", async () => {
    const map = new ShardMap<string, string>();
    const caller = watch(
      map.getOrLoad("a", async (key, signal) => {
        const own = map.getOrLoad(key, () => "inner", signal);
        own.catch(() => {});
        await turn();
        return "of the loader";
      }),
    );
    await turns(3);
    expect([caller.value, map.get("a"), alive()]).toEqual(["of the loader", "of the loader", 0]);
  });
});

describe("a caller that cancels in the turn of its call", () => {
  /** The kinds of cancels for a caller. */
  const cancels: Record<string, () => [cancel: Cancel, end: () => void]> = {
    "a context": () => {
      const { ctx, cancel } = withCancel(bg);
      return [ctx, () => cancel(doom)];
    },
    "a signal": () => {
      const controller = new AbortController();
      return [controller.signal, () => controller.abort(doom)];
    },
    "a context's signal": () => {
      const { ctx, cancel } = withCancel(bg);
      return [ctx.signal, () => cancel(doom)];
    },
  };

  describe.each(Object.entries(cancels))("%s", (_, make) => {
    test("starts no load, and the next caller starts one", async () => {
      const map = new ShardMap<string, number>();
      const load = vi.fn(() => 1);
      const [cancel, end] = make();
      const caller = watch(map.getOrLoad("a", load, cancel));
      end();
      await turns(2);
      expect([caller.state, load.mock.calls.length, alive(), map.has("a")]).toEqual(["rejected", 0, 0, false]);
      expect(await map.getOrLoad("a", () => 2)).toBe(2);
      expect(load).not.toHaveBeenCalled();
    });

    test("leaves the load to its other callers", async () => {
      const map = new ShardMap<string, number>();
      const { load, begun } = loads<string, number>();
      const [cancel, end] = make();
      const caller = watch(map.getOrLoad("a", load, cancel));
      const other = watch(map.getOrLoad("a", load));
      end();
      await turns(2);
      expect([caller.state, other.state, begun.length]).toEqual(["rejected", "pending", 1]);
      expect(begun[0]?.signal.aborted).toBe(false);
      begun[0]?.open(7);
      await turn();
      expect([other.value, map.get("a")]).toEqual([7, 7]);
    });

    test("starts no load beside that of a caller after the cancel", async () => {
      const map = new ShardMap<string, number>();
      const load = vi.fn(() => 1);
      const [cancel, end] = make();
      const caller = watch(map.getOrLoad("a", load, cancel));
      end();
      const next = map.getOrLoad("a", () => 2);
      expect(await next).toBe(2);
      expect([caller.state, load.mock.calls.length, map.get("a")]).toEqual(["rejected", 0, 2]);
    });
  });
});
