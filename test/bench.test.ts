/** The pure parts of the benchmark: statistics, table, charts, and the guard's decision. */
import { describe, expect, test } from "vitest";
import { chart } from "../bench/support/chart.ts";
import { page } from "../bench/support/doc.ts";
import { judge } from "../bench/support/growth.ts";
import { growthChart } from "../bench/support/growthChart.ts";
import { verdict, watch } from "../bench/support/guard.ts";
import { type Ask, compare, comparisonTable, interval, type Pair, takeTurns } from "../bench/support/pairs.ts";
import { againstPlan, plan, wants, wantsAgainst } from "../bench/support/plan.ts";
import { bestPeer, type Results, type RowResult, summarize } from "../bench/support/results.ts";
import { measureRow, type RowContender } from "../bench/support/rounds.ts";
import { check, type Row } from "../bench/support/row.ts";
import { figure, growth, median, quantile, ratio } from "../bench/support/stats.ts";
import { logAxis } from "../bench/support/svg.ts";
import {
  digits,
  excessLines,
  failures,
  levelTable,
  memoryTable,
  spread,
  table,
  tableMarkdown,
  tickTable,
  time,
} from "../bench/support/table.ts";

const row: Row = { id: "chan.x", what: "a value", ops: 1, ours: () => {}, targets: { floor: 1.5, go: 1 } };

describe("statistics", () => {
  test("quantiles are interpolated between two values, and leave the input as it was", () => {
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

  test("a ratio is computed round by round: a drift that both share cancels", () => {
    const drifting = [{ ours: [2, 20, 200], floor: [1, 10, 100] }];
    expect(ratio(drifting, "ours", "floor")).toEqual({ median: 2, low: 2, high: 2 });
  });

  test("a ratio has the quartiles of all rounds, and ignores rounds of one side only", () => {
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

  test("growth that the floor shares is not a defect, growth of ours alone is", () => {
    expect(judge({ ...series, ours: grows(0.4), floor: grows(0.4) }).defect).toBe(false);
    expect(judge({ ...series, ours: grows(0.4), floor: grows(0.1) }).defect).toBe(true);
  });

  test("an uncertain exponent is not a defect", () => {
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

  /** A contender that records when it is asked. */
  const contender = (name: string, asked: string[], warm = true): RowContender => ({
    name,
    warm,
    ask: async (ms) => {
      asked.push(`${name} ${ms}`);
      return { ns: ms };
    },
  });

  test("warms up the contenders that need it, then takes turns, every second round in reverse", async () => {
    const asked: string[] = [];
    const { rounds, errors } = await measureRow([contender("ours", asked), contender("go1", asked, false)], effort);
    const turns = ["ours 150", "ours 25", "go1 25", "go1 25", "ours 25", "ours 25", "go1 25"];
    expect(asked).toEqual(turns);
    expect(rounds).toEqual({ ours: [25, 25, 25], go1: [25, 25, 25] });
    expect(errors).toEqual({});
  });

  test("a contender that fails is not asked again and has no figures; the others go on", async () => {
    let calls = 0;
    const failing: RowContender = {
      name: "floor",
      warm: false,
      ask: async () => (++calls === 2 ? { error: "wrong result" } : { ns: 1 }),
    };
    const { rounds, errors } = await measureRow([contender("ours", []), failing], effort);
    expect(calls).toBe(2);
    expect(rounds).toEqual({ ours: [25, 25, 25] });
    expect(errors).toEqual({ floor: "wrong result" });
  });

  test("no figure is a failure", async () => {
    const silent: RowContender = { name: "ours", warm: false, ask: async () => ({}) };
    expect((await measureRow([silent], effort)).errors).toEqual({ ours: "no figure, but undefined" });
  });

  test("a row that has used its share gets two rounds, and no more", async () => {
    const { rounds } = await measureRow([contender("ours", [])], { ...effort, rounds: 9, shareMs: -1 });
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

  test("a missing figure is an empty text", () => {
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

  test("five percent are allowed on a machine without noise, and no more", () => {
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
    expect(wants(plan([]), "channel", row)).toBe(true);
    expect(wants(plan(["channel"]), "channel", row)).toBe(true);
    expect(wants(plan(["--quick", "chan.x"]), "channel", row)).toBe(true);
    expect(wants(plan(["select"]), "channel", row)).toBe(false);
  });

  test("a row of slow calls is left out of a quick run and of the guard, unless it is named", () => {
    const slow = { ...row, slow: true };
    const has = (...args: string[]) => wants(plan(args), "channel", slow);
    expect([has(), has("--quick"), has("--guard")]).toEqual([true, false, false]);
    expect([has("--quick", "chan"), has("--guard", "chan.x")]).toEqual([true, true]);
  });

  test("quick takes fewer sets and rounds", () => {
    const [full, quick] = [plan([]).effort, plan(["--quick"]).effort];
    expect(quick.sets * quick.rounds).toBeLessThan(full.sets * full.rounds);
  });

  test.each([[["--fast"]], [["chan", "select"]]])("refuses %j", (args) => {
    expect(() => plan(args)).toThrow(/^unknown: .*usage: npm run bench/);
  });
});

describe("against another tree", () => {
  /** A pair of one round: ours took `over` times the other's processor time, and twice that in wall time. */
  const pair = (over: number): Pair => [{ old: { cpu: 10, wall: 10 }, new: { cpu: 10 * over, wall: 20 * over } }];

  test("the arguments: a tree, any number of prefixes, and how many processes", () => {
    expect(againstPlan(["--against", "../old"])).toEqual({ tree: "../old", only: [], processes: 9 });
    const args = ["chan", "--processes", "12", "--against", "../old", "sem.try"];
    expect(againstPlan(args)).toEqual({ tree: "../old", only: ["chan", "sem.try"], processes: 12 });
  });

  test.each([
    [["--against"], /^--against needs a tree/],
    [["--against", "--processes", "9"], /^--against needs a tree/],
    [["--against", "x", "--processes", "1"], /^--processes must be/],
    [["--against", "x", "--processes"], /^--processes must be/],
    [["--against", "x", "--quick"], /^unknown: --quick/],
  ])("refuses %j", (args, message) => {
    expect(() => againstPlan(args)).toThrow(message);
  });

  test("a row of slow calls is compared only if it is named", () => {
    const slow = { ...row, slow: true };
    const all = againstPlan(["--against", "x"]);
    expect([wantsAgainst(all, "channel", row), wantsAgainst(all, "channel", slow)]).toEqual([true, false]);
    const named = againstPlan(["--against", "x", "sem", "chan.x"]);
    expect([wantsAgainst(named, "channel", slow), wantsAgainst(named, "select", { ...row, id: "select.x" })]).toEqual([
      true,
      false,
    ]);
  });

  test("the interval is Student's, over the logarithms", () => {
    const { ratio, low, high } = interval([1, Math.exp(0.1), Math.exp(0.2)]);
    const half = (4.303 * 0.1) / Math.sqrt(3);
    expect(Math.log(ratio)).toBeCloseTo(0.1, 9);
    expect(Math.log(low)).toBeCloseTo(0.1 - half, 9);
    expect(Math.log(high)).toBeCloseTo(0.1 + half, 9);
    expect(interval([2, 0.5]).ratio).toBeCloseTo(1, 9);
    expect(interval(Array.from({ length: 40 }, () => 3))).toEqual({
      ratio: expect.closeTo(3, 9),
      low: expect.closeTo(3, 9),
      high: expect.closeTo(3, 9),
    });
  });

  test.each([
    [[1.06, 1.06, 1.06], "worse"],
    [[1.04, 1.04, 1.04], "same"],
    [[1.04, 1.5, 1.4], "same"],
    [[0.94, 0.94, 0.94], "better"],
    [[0.96, 0.96, 0.96], "same"],
  ])("the ratios %j are %s: the whole interval counts", (ratios, verdict) => {
    expect(compare("chan.x", ratios.map(pair)).verdict).toBe(verdict);
  });

  test("of a pair the median over its rounds counts, and a drift that both share cancels", () => {
    const round = (old: number, ours: number) => ({ old: { cpu: old, wall: 1 }, new: { cpu: ours, wall: 1 } });
    const drifting = [round(1, 2), round(10, 20), round(100, 9_000)];
    const { cpu, old, new: ours } = compare("chan.x", [drifting, drifting]);
    expect(cpu.ratio).toBeCloseTo(2, 9);
    expect([old.cpu, ours.cpu]).toEqual([10, 20]);
  });

  test("the table marks a row that is worse", () => {
    const rows = [compare("chan.x", [pair(1.1), pair(1.1)]), compare("chan.y", [pair(1), pair(1)])];
    const [, first, second] = comparisonTable(rows).split("\n");
    expect(first).toBe("chan.x  10.0 ns         11.0 ns         1.100 [1.100, 1.100]  2.200 [2.200, 2.200]  WORSE");
    expect(second).toMatch(/^chan\.y .*1\.000 \[1\.000, 1\.000\] +2\.000 \[2\.000, 2\.000\]$/);
  });

  describe("turns", () => {
    const effort = { warmMs: 150, ms: 40, rounds: 4, shareMs: 1e9 };

    /** Records the side that is asked; each answers with `calls`. */
    const asking = (asked: string[], calls: number): Ask => {
      return async (side, ms) => {
        asked.push(`${side} ${ms}`);
        return { cpu: 1, wall: 2, calls };
      };
    };

    test("both warm up, then take turns, every second round in reverse", async () => {
      const asked: string[] = [];
      const rounds = await takeTurns(["new", "old"], asking(asked, 9), effort);
      const there = ["new 40", "old 40"];
      const back = there.toReversed();
      expect(asked).toEqual(["new 150", "old 150", ...there, ...back, ...there, ...back]);
      expect(rounds).toHaveLength(4);
    });

    test("if one call takes all of the warm-up time, it is the only one", async () => {
      const asked: string[] = [];
      expect(await takeTurns(["old", "new"], asking(asked, 1), effort)).toHaveLength(1);
      expect(asked).toEqual(["old 150", "new 150"]);
    });

    test("a row that has used its share gets three rounds, and no more", async () => {
      expect(await takeTurns(["old", "new"], asking([], 9), { ...effort, shareMs: -1 })).toHaveLength(3);
    });

    test.each([
      [{ error: "wrong result" }, "wrong result"],
      [{}, "no figure, but undefined"],
    ])("the answer %j is the failure of its side", async (answer, message) => {
      const ask: Ask = async (side) => (side === "old" ? answer : { cpu: 1, wall: 1, calls: 9 });
      const failing = takeTurns(["new", "old"], ask, effort);
      await expect(failing).rejects.toThrow(message);
      await expect(failing).rejects.toHaveProperty("side", "old");
    });
  });
});

describe("ticks", () => {
  const counted = (share: number) => ({ share, longestMs: 12.4, items: 7 });
  const others = [0, 0, 0].map(counted);

  test("a line has each share with the longest gap, and holds the bound at a millisecond", () => {
    const lines = tickTable([
      { what: "kept", least: 0.9, counts: [...others, counted(0.9), counted(0)] },
      { what: "missed", least: 0.9, counts: [...others, counted(0.89), counted(1)] },
      { what: "free", counts: [...others, counted(0), counted(1)] },
    ]).split("\n");
    expect(lines[0]).toMatch(/none +10\.0 µs +100 µs +1\.00 ms +5\.00 ms +target at 1\.00 ms$/);
    expect(lines[1]).toMatch(/^kept .* 90 % \(12 ms\) +0 % \(12 ms\) +≥ 90 %: met$/);
    expect(lines[2]).toMatch(/^missed .* 89 % \(12 ms\) +100 % \(12 ms\) +≥ 90 %: MISSED$/);
    expect(lines[3]).toMatch(/^free .* 100 % \(12 ms\)$/);
  });
});

test("a level of tracking is compared with counters, and with its bound", () => {
  const costs = (sampled: number) => [
    { level: "counters", ns: 100 },
    { level: "sampled", ns: 104, ratio: { median: sampled, low: 1, high: 1.1 }, most: 1.05 },
    { level: "full", ns: 5000, ratio: { median: 50, low: 45, high: 55 } },
  ];
  const lines = [1.05, 1.06].map((sampled) => levelTable([{ what: "a value", costs: costs(sampled) }]).split("\n"));
  expect(lines[0]?.[1]).toMatch(/^a value +counters +100 ns$/);
  expect(lines[0]?.[2]).toMatch(/^a value +sampled +104 ns +1\.05 \[1\.00, 1\.10\] +≤ 1\.05: met$/);
  expect(lines[1]?.[2]).toMatch(/≤ 1\.05: MISSED$/);
  expect(lines[0]?.[3]).toMatch(/^a value +full +5\.00 µs +50\.0 \[45\.0, 55\.0\]$/);
});

test("a memory row is compared with its bound", () => {
  const weighed = { id: "memory.x", what: "a thing", errors: {}, most: 280 };
  const bounds = [280, 281].map((ours) => memoryTable([{ ...weighed, bytes: { ours } }]).split("\n")[1]);
  expect(bounds[0]).toMatch(/≤ 280: met$/);
  expect(bounds[1]).toMatch(/≤ 280: MISSED$/);
});

test("the difference of a row and the row of a part of its work is printed if both were measured", () => {
  const whole = summarize({ ...row, beyond: "chan.part" }, [{ ours: [300] }], {});
  const part = summarize({ ...row, id: "chan.part" }, [{ ours: [100] }], {});
  expect(excessLines([whole, part])).toEqual(["chan.x is at 300 ns, chan.part at 100 ns: it takes 200 ns beyond it"]);
  expect(excessLines([whole])).toEqual([]);
});

test("the page shows what was measured, what could not be, and where others are faster", () => {
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
    ticks: [
      { what: "a loop", least: 0.6, counts: [1, 1, 1, 0.5, 1].map((share) => ({ share, longestMs: 11, items: 9 })) },
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
  expect(text).toContain("| memory.x | a thing | 100 | 90 |  | 200 (peer) |  |");
  expect(text).toContain("| a queue | 100 ns | 1.25 [1.20, 1.30] | 240 ns | 1.50 [1.40, 1.60] |");
  expect(text).toContain(
    "| a loop | 100 % (11 ms) | 100 % (11 ms) | 100 % (11 ms) | 50 % (11 ms) | 100 % (11 ms) | ≥ 60 %: MISSED |",
  );
  expect(text).toContain("| gopark/x | 1.2 | 456 |");
  expect(text).toContain("- chan.x of goN: has ended");
  expect(text).not.toMatch(/undefined|NaN/);
});
