/** The encoding of profiles: numbers of any size, tables without repetition, texts of every script, long lists. */
import { describe, expect, test } from "vitest";
import { encode, type Profile, type Sample } from "../src/internal/pprof/encode.ts";
import { Pace } from "../src/internal/pprof/pace.ts";
import { readProfile } from "./support/profile.ts";
import { turn } from "./support/turn.ts";

const frame = (fn: string, file = "/a.js", line = 1, column = 1) => ({ fn, file, line, column });

function profileOf(samples: readonly Sample[], more: Partial<Profile> = {}): Profile {
  return {
    types: [{ type: "n", unit: "count" }],
    defaultType: "n",
    startedAt: 0,
    duration: 0,
    samples,
    ...more,
  };
}

const read = async (samples: readonly Sample[], more?: Partial<Profile>) =>
  readProfile(await encode(profileOf(samples, more), new Pace()));

/** The profile of one sample. */
const one = (sample: Partial<Sample>) => read([{ frames: [frame("f")], values: [1], ...sample }]);

describe("numbers", () => {
  const sizes = [0, 1, 127, 128, 16_383, 16_384, 2 ** 31, 2 ** 32 + 1, 2 ** 53 - 1, 2 ** 53, 2 ** 62];

  test.each(sizes)("%d is a value", async (n) => {
    expect((await one({ values: [n] })).samples[0]?.values).toEqual([n]);
  });

  test("of today in nanoseconds keep what a double holds", async () => {
    const startedAt = 1_764_000_000_123.5;
    const { timeNanos, durationNanos } = await read([], { startedAt, duration: 12.345_678_9 });
    expect([timeNanos, durationNanos]).toEqual([startedAt * 1e6, 12_345_679]);
  });

  test("several values stay in order, zeros included", async () => {
    const values = [0, 5, 0, 300, 0];
    const types = values.map((_, i) => ({ type: `t${i}`, unit: "count" }));
    const { samples, types: names } = await read([{ frames: [frame("f")], values }], { types, defaultType: "t3" });
    expect(samples[0]?.values).toEqual(values);
    expect(names).toEqual(["t0/count", "t1/count", "t2/count", "t3/count", "t4/count"]);
  });
});

describe("tables", () => {
  test("hold a function and a place once, however often they are shown, and by which object", async () => {
    const samples = Array.from({ length: 50 }, (_, i) => ({
      frames: [frame("f", "/a.js", i % 2), frame("g"), frame("f", "/b.js"), frame("f", "/a.js", 1, 7)],
      values: [i],
    }));
    const { functions, locations, samples: found } = await read(samples);
    expect([functions, locations]).toEqual([3, 5]);
    expect(found[3]?.stack).toEqual(["f /a.js:1:1", "g /a.js:1:1", "f /b.js:1:1", "f /a.js:1:7"]);
    expect(found.map(({ values }) => values[0])).toEqual(samples.map(({ values }) => values[0]));
  });

  test("functions that are told apart by a line break only are two", async () => {
    const { samples, functions } = await one({ frames: [frame("a\nb", "c"), frame("a", "b\nc")] });
    expect([functions, samples[0]?.stack.length]).toEqual([2, 2]);
  });
});

describe("texts", () => {
  test.each(["ö", "名前", "🚀", "x".repeat(20_000), "constructor", "__proto__"])("%s", async (text) => {
    const { samples } = await one({ frames: [frame(text)], labels: { kind: text } });
    expect(samples[0]).toMatchObject({ stack: [`${text} /a.js:1:1`], labels: { kind: text } });
  });

  test("half a character does no harm", async () => {
    expect((await one({ frames: [frame("\ud800")] })).samples[0]?.stack[0]).toBe("\ufffd /a.js:1:1");
  });

  test.each([
    ["file:///home/ada/my%20app/a.js", "/home/ada/my app/a.js"],
    ["file:///C:/app/a.js", "C:/app/a.js"],
    ["file:///app/100%/a.js", "file:///app/100%/a.js"],
    ["https://host/a%20b.js", "https://host/a%20b.js"],
    ["node:internal/timers", "node:internal/timers"],
    ["", ""],
  ])("the file %o is %o", async (file, path) => {
    expect((await one({ frames: [frame("f", file)] })).samples[0]?.stack).toEqual([`f ${path}:1:1`]);
  });
});

describe("labels", () => {
  test("are texts, or numbers with their unit, 0 too", async () => {
    const labels = { kind: "sleep", age: { value: 0, unit: "s" }, size: { value: 4096, unit: "bytes" } };
    expect((await one({ labels })).samples[0]?.labels).toEqual({ kind: "sleep", age: "0 s", size: "4096 bytes" });
  });

  test("may be missing, as may the period and every sample", async () => {
    expect((await one({})).samples[0]?.labels).toEqual({});
    expect(await read([])).toMatchObject({ samples: [], period: "" });
    const period = { type: "cpu", unit: "nanoseconds", value: 5 };
    expect((await read([], { period })).period).toBe("5 cpu/nanoseconds");
  });
});

test("a long list is encoded in slices, between which the event loop turns", async () => {
  const samples = Array.from({ length: 60_000 }, (_, i) => ({ frames: [frame(`f${i}`)], values: [i] }));
  let turns = 0;
  let counting = true;
  void (async () => {
    for (; counting; turns++) await turn();
  })();
  const encoded = await encode(profileOf(samples), new Pace());
  counting = false;
  expect(turns).toBeGreaterThan(1);
  expect(encoded.length).toBeGreaterThan(1e6);
});
