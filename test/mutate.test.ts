/** How mutants are judged: test/mutation/verdict.mjs over reports written here. */
import { describe, expect, test } from "vitest";

interface Mutant {
  line: number;
  status: string;
  original: string;
  mutated: string;
}
interface Explanation {
  file: string;
  original: string;
  mutated: string;
  reason: string;
  count?: number;
}
interface Verdict {
  score: number;
  ok: boolean;
  killed: Mutant[];
  failed: Mutant[];
  uncovered: Mutant[];
  static: Mutant[];
  explained: Mutant[];
  unexplained: Mutant[];
  stale: (Explanation & { now: string })[];
}

// Not a literal: the file has no types of its own.
const path: string = new URL("./mutation/verdict.mjs", import.meta.url).pathname;
const { change, checkExplanations, details, judge, mutantsOf, words } = (await import(path)) as {
  mutantsOf(report: unknown, file: string): Mutant[];
  judge(file: string, mutants: Mutant[], explanations: Explanation[], part?: boolean): Verdict;
  checkExplanations(explanations: unknown): void;
  change(texts: { original: string; mutated: string }): string;
  words(verdict: Verdict): string;
  details(verdict: Verdict): string;
};

const FILE = "src/a.ts";
const SOURCE = ["if (a < 1) go();", "if (a < 1) go();", "function f() {", "  return true; // so", "}"].join("\n");

interface Place {
  status: string;
  line?: number;
  end?: number;
  columns?: [number, number];
  replacement?: string;
  statusReason?: string;
}

/** A mutant as Stryker reports it: by default `a < 1` -> `a <= 1` in the first line. */
function reported({ status, line = 1, end = line, columns = [5, 10], replacement = "a <= 1", statusReason }: Place) {
  const location = { start: { line, column: columns[0] }, end: { line: end, column: columns[1] } };
  return { mutatorName: "M", status, replacement, location, statusReason, coveredBy: ["0"] };
}

const mutants = (...places: Place[]) =>
  mutantsOf(
    {
      files: { [FILE]: { source: SOURCE, mutants: places.map(reported) } },
      testFiles: { "test/a.test.ts": { tests: [{ id: "0", name: "goes" }] } },
    },
    FILE,
  );

const killed = (n: number): Place[] => Array.from({ length: n }, () => ({ status: "Killed" }));
const explanation = { file: FILE, original: "if (a < 1) go();", mutated: "if (a <= 1) go();", reason: "the same" };

describe("a mutant", () => {
  test("is identified by its whole lines, before and after", () => {
    const [one] = mutants({ status: "Survived" });
    expect(one).toMatchObject({ line: 1, original: "if (a < 1) go();", mutated: "if (a <= 1) go();" });
  });

  test("over several lines is printed on one", () => {
    const [block] = mutants({ status: "Survived", line: 3, end: 5, columns: [14, 2], replacement: "{}" });
    expect(block).toMatchObject({ original: "function f() { return true; // so }", mutated: "function f() {}" });
  });

  test("stands where it does in the source", () => {
    expect(mutants({ status: "Killed", line: 2 }, { status: "Killed" }).map((m) => m.line)).toEqual([1, 2]);
  });

  test.each([
    ["Killed", "killed"],
    ["Timeout", "timedOut"],
    ["Survived", "survived"],
    ["NoCoverage", "uncovered"],
    ["Ignored", "static"],
    ["CompileError", "failed"],
    ["Pending", "failed"],
    ["RuntimeError", "failed"],
  ])("that is %s counts as %s", (status, wanted) => {
    expect(mutants({ status })[0]?.status).toBe(wanted);
  });

  test.each([
    ["An error occurred outside of a test run: Error: lost", "killed"],
    ["An error occurred outside of a test run: Error: [vitest-worker]: Timeout calling onTaskUpdate", "failed"],
    ["An error occurred outside of a test run: Error: the thread is stuck: nothing for 60000 ms", "timedOut"],
    ["Cannot find module", "failed"],
  ])("whose run fails with %s counts as %s", (statusReason, wanted) => {
    expect(mutants({ status: "RuntimeError", statusReason })[0]?.status).toBe(wanted);
  });
});

describe("the score", () => {
  test("is the part of the covered mutants that is killed or times out", () => {
    const verdict = judge(
      FILE,
      mutants(
        ...killed(2),
        { status: "Timeout" },
        { status: "Survived" },
        { status: "NoCoverage" },
        { status: "Ignored" },
      ),
      [],
    );
    expect(verdict).toMatchObject({ score: 0.75, ok: false });
    expect([verdict.uncovered.length, verdict.static.length]).toEqual([1, 1]);
  });

  test.each([
    [96, 4, true],
    [95, 5, false],
  ])("of %d killed and %d survivors passes: %s", (dead, alive, ok) => {
    const survivors = Array.from({ length: alive }, () => ({ status: "Survived" }));
    expect(judge(FILE, mutants(...killed(dead), ...survivors), []).ok).toBe(ok);
  });

  test("does not exist without a covered mutant, and fails no file", () => {
    expect(judge(FILE, mutants({ status: "NoCoverage" }), [])).toMatchObject({ score: Number.NaN, ok: true });
  });
});

describe("an explanation", () => {
  test("takes its survivor out of the score", () => {
    const verdict = judge(FILE, mutants(...killed(1), { status: "Survived" }), [explanation]);
    expect(verdict).toMatchObject({ score: 1, ok: true, unexplained: [], stale: [] });
    expect(verdict.explained).toHaveLength(1);
  });

  test("of one mutant does not explain a second of the same text", () => {
    const twice = mutants({ status: "Survived" }, { status: "Survived", line: 2 });
    expect(judge(FILE, twice, [explanation]).unexplained.map((m) => m.line)).toEqual([2]);
    expect(judge(FILE, twice, [{ ...explanation, count: 2 }])).toMatchObject({ unexplained: [], ok: true });
  });

  test("of another file explains nothing here, and is not stale", () => {
    const verdict = judge(FILE, mutants(...killed(1)), [{ ...explanation, file: "src/b.ts" }]);
    expect(verdict).toMatchObject({ stale: [], ok: true });
  });

  test.each([
    ["Killed", "if (a <= 1) go();", "killed"],
    ["NoCoverage", "if (a <= 1) go();", "uncovered"],
    ["Survived", "if (a > 1) go();", "no such mutant"],
  ])("of a mutant that does not survive is stale: %s, %s", (status, mutated, now) => {
    const verdict = judge(FILE, mutants({ status }), [{ ...explanation, mutated }]);
    expect(verdict.ok).toBe(false);
    expect(verdict.stale).toMatchObject([{ mutated, now }]);
  });

  test("of more mutants than survive is stale", () => {
    const verdict = judge(FILE, mutants({ status: "Survived" }), [{ ...explanation, count: 2 }]);
    expect(verdict.stale).toMatchObject([{ now: "survived" }]);
    expect(verdict.ok).toBe(false);
  });

  test("is not stale where only some lines were mutated", () => {
    expect(judge(FILE, mutants(...killed(1)), [explanation], true)).toMatchObject({ stale: [], ok: true });
  });

  test.each([
    [{}, /want an array/],
    [[{ ...explanation, reason: " " }], /"reason" is missing/],
    [[{ ...explanation, count: 0 }], /"count"/],
    [[{ ...explanation, line: 3 }], /unknown: line/],
    [[explanation, explanation], /twice/],
  ])("must be whole and there once: %j", (explanations, message) => {
    expect(() => checkExplanations(explanations)).toThrow(message);
  });
});

describe("the report", () => {
  test("names each survivor with what it changes, and what was wanted", () => {
    const text = words(judge(FILE, mutants({ status: "Survived" }), []));
    expect(text).toContain("src/a.ts:1  if (a < 1) go();  ->  if (a <= 1) go();");
    expect(text).toContain("FAILED: want 96.0 %");
  });

  test("in detail has the tests that let the mutant through, and the entry to explain it", () => {
    const text = details(judge(FILE, mutants({ status: "Survived" }), []));
    expect(text).toContain("test/a.test.ts: goes");
    expect(text).toContain(JSON.stringify({ ...explanation, reason: "" }));
  });

  test("shows of long lines the part that changes", () => {
    const long = "x ".repeat(100);
    const text = change({ original: `${long}true${long}`, mutated: `${long}false${long}` });
    expect(text.length).toBeLessThan(200);
    expect(text).toMatch(/^….*true.*… {2}-> {2}….*false.*…$/);
  });
});
