/**
 * map and forEach when they stop early: the iterator's return(), pending pulls, and sources that stop the work
 * themselves.
 */
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { counters, track } from "gopark/leak";
import { describe, expect, test } from "vitest";
import { counted, HandSource, runners, Work } from "./support/source.ts";
import { turn, turns } from "./support/turn.ts";
import { unhandledDuring } from "./support/unhandled.ts";
import { watch } from "./support/watch.ts";

const doom = new Error("doomed");

describe.each(["map", "forEach"] as const)("%s", (name) => {
  const run = runners[name];

  /** One call runs, the only slot is taken, and no next() is pending. */
  async function busy() {
    const source = new HandSource<string>();
    const work = new Work<string, void>();
    const done = watch(run(background(), source, work.fn, { limit: 1 }));
    await turn();
    source.give("a");
    await turn();
    expect([source.pending, work.running]).toEqual([0, [0]]);
    return { source, work, done };
  }

  /** One call runs, a slot is free, and next() is pending. */
  async function asking() {
    const source = new HandSource<string>();
    const work = new Work<string, void>();
    const done = watch(run(background(), source, work.fn, { limit: 2 }));
    await turn();
    source.give("a");
    await turn();
    expect([source.pending, work.running]).toEqual([1, [0]]);
    return { source, work, done };
  }

  describe("where no next() is pending", () => {
    test("waits for a slow return()", async () => {
      const { source, work, done } = await busy();
      let open = () => {};
      source.onReturn = () => new Promise<void>((resolve) => (open = resolve));
      work.fail(0, doom);
      await turns(5);
      expect([source.returns, done.state]).toEqual([1, "pending"]);
      open();
      await turn();
      expect([source.returns, done.reason]).toEqual([1, doom]);
    });

    test("calls return() before those that run have ended, and waits for both", async () => {
      const source = new HandSource<string>();
      const work = new Work<string, void>();
      let open = () => {};
      source.onReturn = () => new Promise<void>((resolve) => (open = resolve));
      const done = watch(run(background(), source, work.fn, { limit: 2 }));
      for (const item of ["a", "b"]) {
        await turn();
        source.give(item);
      }
      await turn();
      work.fail(0, doom);
      await turn();
      expect([source.returns, work.running, done.state]).toEqual([1, [1], "pending"]);
      open();
      await turn();
      expect(done.state).toBe("pending");
      work.finish(1);
      await turn();
      expect(done.reason).toBe(doom);
    });

    const other = new Error("return failed");
    test.each([
      { how: "throws", onReturn: () => Promise.reject(other), thrown: false },
      { how: "rejects later", onReturn: () => turn().then(() => Promise.reject(other)), thrown: false },
      { how: "throws synchronously", onReturn: null, thrown: true },
    ])("drops what return() $how: fn's error is the one", async ({ onReturn }) => {
      const unhandled = await unhandledDuring(async () => {
        const { source, work, done } = await busy();
        source.onReturn =
          onReturn ??
          (() => {
            throw other;
          });
        work.fail(0, doom);
        await turns(4);
        expect([source.returns, done.state, done.reason]).toEqual([1, "rejected", doom]);
      });
      expect(unhandled).toEqual([]);
    });

    test("ends a generator where it stands: its finally has run before the rejection", async () => {
      const log: string[] = [];
      function* source() {
        try {
          yield* [1, 2, 3];
        } finally {
          log.push("finally");
        }
      }
      async function* sourceLater() {
        try {
          yield* [1, 2, 3];
        } finally {
          await turn();
          log.push("finally");
        }
      }
      for (const items of [source(), sourceLater()]) {
        const failing = run(background(), items, () => Promise.reject(doom), { limit: 1 });
        await failing.catch((error: unknown) => log.push(`${error}`));
        expect(log.splice(0)).toEqual(["finally", "Error: doomed"]);
      }
    });

    test.each([Symbol.iterator, Symbol.asyncIterator])(
      "does without a return() that is not there, %s",
      async (kind) => {
        const iterator = { next: () => ({ done: false, value: 1 }) };
        const source = { [kind]: () => iterator } as unknown as Iterable<number>;
        await expect(run(background(), source, () => Promise.reject(doom), { limit: 1 })).rejects.toBe(doom);
      },
    );

    test("calls return() as a method of its iterator", async () => {
      const returned: unknown[] = [];
      const iterator = {
        next: () => ({ done: false, value: 1 }),
        return() {
          returned.push(this);
          return { done: true, value: undefined };
        },
      };
      const source = { [Symbol.iterator]: () => iterator } as unknown as Iterable<number>;
      await run(background(), source, () => Promise.reject(doom), { limit: 1 }).catch(() => {});
      expect(returned).toEqual([iterator]);
    });
  });

  describe("where next() is pending when a call fails", () => {
    test("waits for neither next() nor return(), but calls return()", async () => {
      const { source, work, done } = await asking();
      source.onReturn = () => new Promise(() => {});
      work.fail(0, doom);
      await turn();
      expect([source.nexts, source.returns, done.state, done.reason]).toEqual([2, 1, "rejected", doom]);
    });

    test("still waits for the calls that run", async () => {
      const source = new HandSource<string>();
      const work = new Work<string, void>();
      const done = watch(run(background(), source, work.fn, { limit: 3 }));
      for (const item of ["a", "b"]) {
        await turn();
        source.give(item);
      }
      await turn();
      work.fail(1, doom);
      await turn();
      expect([source.pending, source.returns, done.state]).toEqual([1, 1, "pending"]);
      work.finish(0);
      await turn();
      expect(done.reason).toBe(doom);
    });

    test.each([
      { how: "gives an item", answer: (source: HandSource<string>) => source.give("late") },
      { how: "ends", answer: (source: HandSource<string>) => source.end() },
      { how: "fails", answer: (source: HandSource<string>) => source.fail(new Error("late")) },
      { how: "fails with undefined", answer: (source: HandSource<string>) => source.fail(undefined) },
    ])("a source that $how afterwards changes nothing", async ({ answer }) => {
      const unhandled = await unhandledDuring(async () => {
        const { source, work, done } = await asking();
        work.fail(0, doom);
        await turn();
        answer(source);
        await turns(2);
        expect([done.reason, work.items, source.nexts, source.returns]).toEqual([doom, ["a"], 2, 1]);
      });
      expect(unhandled).toEqual([]);
    });

    test.each([
      { how: "gives an item", answer: (source: HandSource<string>) => source.give("late") },
      { how: "ends", answer: (source: HandSource<string>) => source.end() },
      { how: "fails", answer: (source: HandSource<string>) => source.fail(new Error("late")) },
    ])("a source that $how while the calls are waited for changes nothing", async ({ answer }) => {
      const unhandled = await unhandledDuring(async () => {
        const source = new HandSource<string>();
        const work = new Work<string, void>();
        const done = watch(run(background(), source, work.fn, { limit: 3 }));
        for (const item of ["a", "b"]) {
          await turn();
          source.give(item);
        }
        await turn();
        work.fail(1, doom);
        await turn();
        answer(source);
        await turns(2);
        expect([done.state, work.items, source.nexts, source.returns]).toEqual(["pending", ["a", "b"], 2 + 1, 1]);
        work.finish(0);
        await turn();
        expect(done.reason).toBe(doom);
      });
      expect(unhandled).toEqual([]);
    });

    test.each([
      { how: "throws", onReturn: () => Promise.reject(new Error("late")) },
      { how: "rejects later", onReturn: () => turn().then(() => Promise.reject(new Error("late"))) },
    ])("drops what return() $how", async ({ onReturn }) => {
      const unhandled = await unhandledDuring(async () => {
        const { source, work, done } = await asking();
        source.onReturn = onReturn;
        work.fail(0, doom);
        await turns(3);
        expect([done.reason, source.returns]).toEqual([doom, 1]);
      });
      expect(unhandled).toEqual([]);
    });

    test("an async generator is ended as soon as what it waits for comes", async () => {
      const log: string[] = [];
      const gate = new Channel<void>();
      async function* source() {
        try {
          yield "a";
          await gate.receive();
          yield "late";
        } finally {
          log.push("finally");
        }
      }
      const work = new Work<string, void>();
      const done = watch(run(background(), source(), work.fn, { limit: 2 }));
      await turn();
      work.fail(0, doom);
      await turn();
      expect([done.reason, log]).toEqual([doom, []]);
      gate.close();
      await turns(2);
      expect([log, work.items]).toEqual([["finally"], ["a"]]);
    });
  });

  describe("a source that cancels the caller's context inside next()", () => {
    test.each([
      { how: "and gives an item, sync", later: false, ends: false },
      { how: "and ends, sync", later: false, ends: true },
      { how: "and gives an item, async", later: true, ends: false },
      { how: "and ends, async", later: true, ends: true },
    ])("$how: nothing starts any more, and its finally runs", async ({ later, ends }) => {
      const [parent, cancel] = withCancel(background());
      const log: string[] = [];
      function* source() {
        try {
          yield 1;
          cancel(doom);
          if (!ends) yield 2;
        } finally {
          log.push("finally");
        }
      }
      async function* sourceLater() {
        yield* source();
      }
      const [items, use] = counted<number>(later ? sourceLater() : source());
      const work = new Work<number, void>();
      const done = watch(run(parent, items, work.fn, { limit: 3 }));
      await turns(2);
      // Whether the first call starts before the second next() is not specified.
      expect(work.items.length).toBeLessThanOrEqual(1);
      for (const index of work.running) work.finish(index);
      await turns(2);
      expect([done.state, done.reason, log, use.nexts]).toEqual(["rejected", parent.err(), ["finally"], 2]);
    });
  });

  test("nothing is taken or started after a cancel, at whatever moment of a slot's change of hands it comes", async () => {
    for (let ticks = 0; ticks < 12; ticks++) {
      const [parent, cancel] = withCancel(background());
      const [items, use] = counted([1, 2, 3, 4]);
      const work = new Work<number, void>();
      const done = watch(run(parent, items, work.fn, { limit: 1 }));
      await turn();
      work.finish(0);
      for (let i = 0; i < ticks; i++) await Promise.resolve();
      cancel();
      const { nexts } = use;
      await turns(2);
      expect([use.nexts, use.returns]).toEqual([nexts, 1]);
      expect(work.items.length).toBeLessThanOrEqual(nexts);
      for (const index of work.running) work.finish(index);
      await turn();
      expect(done.reason).toBe(parent.err());
    }
  });
});

test("an answer that comes after the wait for it was given up is counted once, without tracking too", async () => {
  track("counters");
  try {
    const source = new HandSource<string>();
    const [parent, cancel] = withCancel(background());
    const done = watch(runners.map(parent, source, () => {}, { limit: 1 }));
    await turn();
    expect(counters()["iterator next"]).toBe(1);
    cancel();
    await turn();
    source.give("late");
    await turn();
    expect([done.state, counters()["iterator next"]]).toEqual(["rejected", 0]);
  } finally {
    track("full");
  }
});
