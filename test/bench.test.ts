/** The pure parts of the benchmark: statistics, table, charts, and the guard's decision. */
import { describe, expect, test } from "vitest";
import { chart } from "../bench/support/chart.ts";
import { page } from "../bench/support/doc.ts";
import { judge } from "../bench/support/growth.ts";
import { growthChart } from "../bench/support/growthChart.ts";
import { verdict, watch } from "../bench/support/guard.ts";
import { plan, wants } from "../bench/support/plan.ts";
import { bestPeer, type Results, type RowResult, summarize } from "../bench/support/results.ts";
import { measureRow, type Seat } from "../bench/support/rounds.ts";
import { check, type Row } from "../bench/support/row.ts";
import { figure, growth, median, quantile, ratio } from "../bench/support/stats.ts";
import { logAxis } from "../bench/support/svg.ts";
import { digits, failures, spread, table, tableMarkdown, time } from "../bench/support/table.ts";

const row: Row = { id: "chan.x", what: "a value", ops: 1, ours: () => {}, targets: { floor: 1.5, go: 1 } };

describe("statistics", () => {
  test("quantiles lie between two values in proportion, and leave the input as it was", () => {
    const values = [4, 1, 3, 2];
    expect(median(values)).toBe(2.5);
    expect(quantile(values, 0.25)).toBe(1.75);
    expect(quantile(values, 1)).toBe(4);
    expect(values).toEqual([4, 1, 3, 2]);
    expect(median([])).toBeNaN();
  });

  test("a figure is the median over processes of the median over rounds, so one bad process does not count", () => {
    const sets = [{ ours: [1, 2, 3] }, { ours: [90, 91, 92] }, { ours: [3, 4, 5] }];
    expect(figure(sets, "ours")).toBe(4);
    expect(figure([...sets, {}], "ours")).toBe(4);
    expect(figure(sets, "floor")).toBeNaN();
  });

  test("a ratio is taken round by round: a drift that both share cancels", () => {
    const drifting = [{ ours: [2, 20, 200], floor: [1, 10, 100] }];
    expect(ratio(drifting, "ours", "floor")).toEqual({ median: 2, low: 2, high: 2 });
  });

  test("a ratio has the quartiles of all rounds, and ignores rounds that only one has", () => {
    const sets = [{ a: [1, 2, 9], b: [1, 1] }, { a: [3, 4], b: [1, 1] }, { a: [1] }];
    expect(ratio(sets, "a", "b")).toEqual({ median: 2.5, low: 1.75, high: 3.25 });
    expect(ratio(sets, "a", "c")).toBeUndefined();
  });

  test.each([
    [0, (n: number) => 7 + 0 * n],
    [1, (n: number) => 3 * n],
    [0.5, (n: number) => Math.sqrt(n)],
  ])("the exponent of a growth is found: %d", (exponent, cost) => {
    const fit = growth([1, 10, 100, 1000].map((n) => [n, cost(n)]));
    expect(fit.exponent).toBeCloseTo(exponent, 9);
    expect(fit.error).toBeCloseTo(0, 9);
  });

  test("points off the line show as an error of the exponent", () => {
    const noisy: [number, number][] = [
      [1, 1],
      [10, 5],
      [100, 1],
      [1000, 5],
    ];
    expect(growth(noisy).error).toBeGreaterThan(0.1);
  });
});

describe("growth", () => {
  const grows = (exponent: number) => [1, 10, 100, 1000].map((n) => [n, n ** exponent] as const);
  const series = { title: "T", size: "n", operation: "op", floorIs: "bare" };

  test.each([
    [0, false],
    [0.19, false],
    [0.21, true],
    [1, true],
  ])("exponent %d: a defect is %s", (exponent, defect) => {
    expect(judge({ ...series, ours: grows(exponent) }).defect).toBe(defect);
  });

  test("what the floor costs too is no defect, what it does not is one", () => {
    expect(judge({ ...series, ours: grows(0.4), floor: grows(0.4) }).defect).toBe(false);
    expect(judge({ ...series, ours: grows(0.4), floor: grows(0.1) }).defect).toBe(true);
  });

  test("a doubtful exponent is no defect", () => {
    const doubtful = [1, 10, 100, 1000].map((n, i) => [n, n ** 0.25 * (i % 2 === 0 ? 1 : 9)] as const);
    expect(judge({ ...series, ours: doubtful }).defect).toBe(false);
  });

  test("the chart states the exponent of each panel, and marks a defect", () => {
    const drawn = growthChart([
      { ...series, title: "Good & small", ours: grows(0.05), floor: grows(0) },
      { ...series, title: "Bad", ours: grows(1) },
    ]);
    expect(drawn).toContain("Good &amp; small: op");
    expect(drawn).toContain("size^0.05");
    expect(drawn).toContain("bare: 0.00");
    expect(drawn.match(/DEFECT/g)).toHaveLength(1);
    expect(drawn.match(/<polyline/g)).toHaveLength(3);
    expect(drawn).not.toContain("NaN");
  });
});

describe("rounds", () => {
  const effort = { sets: 1, rounds: 3, ms: 25, warmMs: 150, shareMs: 1e9 };

  /** A contender that notes when it is asked. */
  const seat = (who: string, asked: string[], warm = true): Seat => ({
    who,
    warm,
    ask: async (ms) => {
      asked.push(`${who} ${ms}`);
      return { ns: ms };
    },
  });

  test("warms up what must be, then takes turns, every second round backwards", async () => {
    const asked: string[] = [];
    const { rounds, errors } = await measureRow([seat("ours", asked), seat("go1", asked, false)], effort);
    const turns = ["ours 150", "ours 25", "go1 25", "go1 25", "ours 25", "ours 25", "go1 25"];
    expect(asked).toEqual(turns);
    expect(rounds).toEqual({ ours: [25, 25, 25], go1: [25, 25, 25] });
    expect(errors).toEqual({});
  });

  test("a contender that fails is not asked again and has no figures; the others go on", async () => {
    let calls = 0;
    const failing: Seat = {
      who: "floor",
      warm: false,
      ask: async () => (++calls === 2 ? { error: "wrong result" } : { ns: 1 }),
    };
    const { rounds, errors } = await measureRow([seat("ours", []), failing], effort);
    expect(calls).toBe(2);
    expect(rounds).toEqual({ ours: [25, 25, 25] });
    expect(errors).toEqual({ floor: "wrong result" });
  });

  test("no figure is a failure", async () => {
    const silent: Seat = { who: "ours", warm: false, ask: async () => ({}) };
    expect((await measureRow([silent], effort)).errors).toEqual({ ours: "no figure, but undefined" });
  });

  test("a row that has used its share gets two rounds, and no more", async () => {
    const { rounds } = await measureRow([seat("ours", [])], { ...effort, rounds: 9, shareMs: -1 });
    expect(rounds.ours).toHaveLength(2);
  });
});

describe("results", () => {
  const sets = [{ ours: [100, 100], floor: [80, 80], go1: [50, 50], slow: [300, 300], fast: [90, 90] }];
  const result = summarize(row, sets, {});

  test("the best peer is the fastest that is neither ours, the floor nor Go", () => {
    expect(bestPeer({ ours: 1, floor: 1, go1: 1, goN: 1, again: 1, slow: 3, fast: 2 })).toBe("fast");
    expect(bestPeer({ ours: 1 })).toBeUndefined();
  });

  test("targets hold or not: the row's own, and no slower than the best peer", () => {
    expect(result.targets).toEqual([
      { against: "floor", most: 1.5, found: 1.25, met: true },
      { against: "go", most: 1, found: 2, met: false },
      { against: "fast", most: 1, found: 100 / 90, met: false },
    ]);
  });

  test("a target against a contender that did not run is left out", () => {
    expect(summarize(row, [{ ours: [1] }], {}).targets).toEqual([]);
  });

  test("a peer's own bound takes the place of the general one", () => {
    const { targets } = summarize({ ...row, targets: { fast: 1.2 } }, sets, {});
    expect(targets).toEqual([{ against: "fast", most: 1.2, found: 100 / 90, met: true }]);
  });

  test("the next best has bounds of its own, and says why", () => {
    const next = { targets: { floor: 1.3, go: 1.8, gone: 1 }, why: "It must." };
    expect(summarize({ ...row, next }, sets, {}).next).toEqual({
      targets: [
        { against: "floor", most: 1.3, found: 1.25, met: true },
        { against: "go", most: 1.8, found: 2, met: false },
      ],
      why: "It must.",
    });
    expect(result.next).toBeUndefined();
  });

  test("a wrong result throws", () => {
    expect(() => check(1, 2)).toThrow("wrong result: 1 instead of 2");
    check(2, 2);
  });
});

describe("table", () => {
  const sets = [{ ours: [100, 110], floor: [80, 80], fast: [90, 90] }];
  const result = summarize(row, sets, { goN: "has ended" });

  test.each([
    [8.123, "8.12 ns"],
    [83.14, "83.1 ns"],
    [999, "999 ns"],
    [5420, "5.42 µs"],
    [1.2e6, "1.20 ms"],
  ])("%d ns reads %s", (ns, text) => {
    expect(time(ns)).toBe(text);
  });

  test("nothing reads as nothing", () => {
    expect([time(undefined), time(Number.NaN), spread(undefined)]).toEqual(["", "", ""]);
    expect(digits(123.4)).toBe("123");
  });

  test("a line has each figure, the best peer's name, the spread, and what was missed", () => {
    const [heads, cells] = table([result]).split("\n");
    expect(heads).toMatch(/^row +ours +floor/);
    expect(cells).toMatch(/^chan\.x +105 ns +80\.0 ns +failed +90\.0 ns \(fast\) +1\.31 \[1\.28, 1\.34\]/);
    expect(cells).toContain("≤ 1.5 floor: met; ≤ 1 fast: MISSED (1.17)");
  });

  test("a row that loses is in the Markdown table too", () => {
    const [, , cells] = tableMarkdown([result]).split("\n");
    expect(cells).toMatch(/^\| chan\.x \| 105 ns \| .* MISSED \(1\.17\) \|$/);
  });

  test("failures are listed with the row and the contender", () => {
    expect(failures([result])).toEqual(["chan.x of goN: has ended"]);
  });
});

describe("chart", () => {
  test("a log axis spans whole powers of ten", () => {
    const axis = logAxis([20, 3000], 0, 300);
    expect(axis.ticks).toEqual([10, 100, 1000, 10_000]);
    expect([axis.place(10), axis.place(100), axis.place(10_000)]).toEqual([0, 100, 300]);
    expect(logAxis([10], 0, 1).ticks).toEqual([10, 100]);
  });

  test("a row has a dot for each contender that ran, with its figure, and ours lies on top", () => {
    const result = summarize(row, [{ ours: [100], floor: [80], "a<b": [90], worse: [99] }], {});
    const drawn = chart([result]);
    const dots = [...drawn.matchAll(/<circle class="([^"]+)"[^>]*><title>([^<]*)<\/title>/g)].map((m) => [m[1], m[2]]);
    expect(dots).toEqual([
      ["floor", "floor: 80.0 ns"],
      ["peer", "a&lt;b: 90.0 ns"],
      ["ours", "gopark: 100 ns"],
    ]);
    expect(drawn).toContain("prefers-color-scheme: dark");
    expect(drawn).not.toContain("NaN");
  });
});

describe("guard", () => {
  const exact = (median: number) => ({ median, low: median, high: median });
  const watched = { id: "chan.x", against: "floor", before: exact(1), now: exact(1), self: exact(1) };

  test("five percent are allowed on a silent machine, and no more", () => {
    expect(verdict({ ...watched, now: exact(1.05) }).regressed).toBe(false);
    expect(verdict({ ...watched, now: exact(1.06) }).regressed).toBe(true);
    expect(verdict({ ...watched, now: exact(0.5) }).regressed).toBe(false);
  });

  test("twice the noise between two processes of ours is allowed", () => {
    const self = { median: 1, low: 0.9, high: 1.04 };
    expect(verdict({ ...watched, self, now: exact(1.19) }).regressed).toBe(false);
    expect(verdict({ ...watched, self, now: exact(1.21) }).regressed).toBe(true);
  });

  test("the spread of the committed ratio is allowed", () => {
    const before = { median: 2, low: 1.9, high: 2.6 };
    expect(verdict({ ...watched, before, now: exact(2.59) }).regressed).toBe(false);
    expect(verdict({ ...watched, before, now: exact(2.61) }).regressed).toBe(true);
  });

  test("watches the floor's and Go's ratios that both tables have, not the peers'", () => {
    const rounds = { ours: [2], again: [2], floor: [1], go1: [4], peer: [2] };
    const now = [summarize(row, [rounds], {}), summarize({ ...row, id: "chan.new" }, [rounds], {})];
    const before: RowResult[] = [summarize(row, [{ ours: [3], floor: [1], peer: [9] }], {})];
    expect(watch(before, now)).toEqual([
      { id: "chan.x", against: "floor", before: exact(3), now: exact(2), self: exact(1) },
    ]);
  });
});

describe("plan", () => {
  test("a filter is a prefix of a row or of its file", () => {
    expect(wants(plan([]), "channel", "chan.x")).toBe(true);
    expect(wants(plan(["channel"]), "channel", "chan.x")).toBe(true);
    expect(wants(plan(["--quick", "chan.x"]), "channel", "chan.x")).toBe(true);
    expect(wants(plan(["select"]), "channel", "chan.x")).toBe(false);
  });

  test("quick takes fewer sets and rounds", () => {
    const [full, quick] = [plan([]).effort, plan(["--quick"]).effort];
    expect(quick.sets * quick.rounds).toBeLessThan(full.sets * full.rounds);
  });

  test.each([[["--fast"]], [["chan", "select"]]])("refuses %j", (args) => {
    expect(() => plan(args)).toThrow(/^unknown: .*usage: npm run bench/);
  });
});

test("the page says what was measured, what could not be, and where others are faster", () => {
  const results: Results = {
    quick: false,
    versions: { node: "20.0.0" },
    machine: "2 × test",
    method: { sets: 3, rounds: 7, ms: 25 },
    absent: { go: "go is not installed" },
    rows: [
      summarize(
        { ...row, next: { targets: { floor: 1.3, fast: 1.9 }, why: "It must." } },
        [{ ours: [100], floor: [80], fast: [50] }],
        { goN: "has ended" },
      ),
    ],
    memory: [{ id: "memory.x", what: "a thing", bytes: { ours: 100, floor: 90, peer: 200 }, errors: {} }],
    growth: [],
    steps: [
      { adds: "a promise", value: { ns: 80 }, roundTrip: { ns: 160 } },
      {
        adds: "a queue",
        value: { ns: 100, ratio: { median: 1.25, low: 1.2, high: 1.3 } },
        roundTrip: { ns: 240, ratio: { median: 1.5, low: 1.4, high: 1.6 } },
      },
    ],
    modules: [{ name: "gopark/x", importMs: 1.23, gzip: 456 }],
  };
  const text = page(results);
  expect(text).toContain("Without go: go is not installed.");
  expect(text).toContain("1 of 2 targets are met");
  expect(text).toContain("- `chan.x`: a value");
  expect(text).toContain("- `chan.x`: fast by 2.00 ×");
  expect(text).toContain("- `chan.x`: 2.00 × fast instead of 1; the floor alone is at 1.60");
  expect(text).toContain("- `chan.x`, next best: ≤ 1.3 × floor, met (1.25); ≤ 1.9 × fast, MISSED too (2.00). It must.");
  expect(text).toContain("| memory.x | a thing | 100 | 90 |  | 200 (peer) |");
  expect(text).toContain("| a queue | 100 ns | 1.25 [1.20, 1.30] | 240 ns | 1.50 [1.40, 1.60] |");
  expect(text).toContain("| gopark/x | 1.2 | 456 |");
  expect(text).toContain("- chan.x of goN: has ended");
  expect(text).not.toMatch(/undefined|NaN/);
});
