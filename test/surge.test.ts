/** The pure parts of the surge replay: how it reads a profile, and draws it. */
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { flame, total } from "../bench/support/flame.ts";
import type { Run } from "../bench/surge/figures.ts";
import { framesOf } from "../bench/surge/profiles.ts";
import { conclusion, verdicts } from "../bench/surge/report.ts";
import { type Check, exitCodes, judged, machineBusy, type Verdict, verdictOf } from "../bench/surge/verdict.ts";
import { Channel, go, leak } from "../src/index.ts";
import * as pprof from "../src/pprof.ts";

async function listing(name: pprof.TextName): Promise<string> {
  let all = "";
  for await (const piece of pprof.text(1, name)) all += piece;
  return all;
}

describe("the profile of a gateway", () => {
  test("is read with its counts, callers first, without Node's own frames, and what a wait waits for last", async () => {
    leak.track("full");
    const orders = new Channel<number>();
    function handle() {
      return go(async function take() {
        await orders.receive();
      });
    }
    const running = [1, 2, 3].map(() => handle());
    await new Promise(setImmediate);

    const tasks = framesOf(await listing("task"));
    expect(total(tasks)).toBe(3);
    const frames = tasks.flatMap(({ frames }) => frames);
    expect(frames.map(({ at }) => at).filter((at) => at.startsWith("node:"))).toEqual([]);
    expect(frames.at(-1)).toEqual({ name: "handle", at: expect.stringMatching(/^surge\.test\.ts:\d+:\d+$/) });

    const waits = framesOf(await listing("goroutine"));
    expect(total(waits)).toBe(3);
    expect(waits[0]?.frames.slice(-2).map(({ name }) => name)).toEqual(["take", "[chan receive]"]);

    orders.close();
    await Promise.all(running);
    expect(framesOf(await listing("task"))).toEqual([]);
  });

  test("what is no profile is said to be none", () => {
    expect(() => framesOf("429 Too Many Requests")).toThrow("not a profile: 429 Too Many Requests");
  });
});

describe("a flame graph", () => {
  const at = "a.ts:1:1";
  const stack = (count: number, ...names: string[]) => ({ count, frames: names.map((name) => ({ name, at })) });
  /** The boxes: what the title says, and from where to where they stand. */
  const boxes = (parts: readonly string[]) =>
    parts.map((part) => {
      const [, title = "", x, y, wide] =
        /<title>(.*?)<\/title>.* x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"/.exec(part) ?? [];
      return `${title} ${x} ${y} ${wide}`;
    });

  test("a box is as wide as what runs through it, under its caller, the widest first", () => {
    const { height, parts } = flame(
      [stack(1, "main", "b"), stack(6, "main", "a"), stack(3, "main", "a", "c")],
      "all",
      100,
    );
    expect(boxes(parts)).toEqual([
      "all: 10, 100 % 0.0 0.0 99.5",
      `main (${at}): 10, 100 % 0.0 19.0 99.5`,
      `a (${at}): 9, 90 % 0.0 38.0 89.5`,
      `c (${at}): 3, 30 % 0.0 57.0 29.5`,
      `b (${at}): 1, 10 % 90.0 38.0 9.5`,
    ]);
    expect(height).toBe(4 * 19);
  });

  test("the lines of a function are one box, functions without a name are not", () => {
    const frames = (name: string, at: string) => ({ count: 1, frames: [{ name, at }] });
    const named = flame([frames("f", "a.ts:1:1"), frames("f", "a.ts:2:1")], "all", 100);
    expect(named.parts).toHaveLength(2);
    const nameless = flame([frames("<anonymous>", "a.ts:1:1"), frames("<anonymous>", "a.ts:2:1")], "all", 100);
    expect(nameless.parts).toHaveLength(3);
  });

  test("names are escaped, cut to what fits, and left out where nothing does", () => {
    const { parts } = flame([stack(90, "Map.<anonymous>"), stack(10, "other")], "everything", 100);
    const texts = parts.map((part) => />([^<>]*)<\/text>/.exec(part)?.[1]);
    expect(texts).toEqual(["everything 100", "Map.&lt;anonymo…", undefined]);
  });

  test("of nothing, nothing is drawn", () => {
    expect(flame([], "all", 100)).toEqual({ height: 0, parts: [] });
  });
});

test("the page quotes the cured gateway as it is", () => {
  const [, section = ""] = readFileSync("docs/surge.md", "utf8").split("## The cure, in short");
  const quoted = /```text\n([^`]*)```/.exec(section)?.[1] ?? "";
  const [caller = "", admission = ""] = quoted.split("\n\n");
  const gateway = readFileSync("bench/surge/gateway-gopark.ts", "utf8");
  expect(gateway).toContain(caller);
  expect(gateway).toContain(admission.trim());
  expect(admission).toContain("deadline(");
});

describe("the verdict of a replay", () => {
  const check = (kept: boolean, timed: boolean) => ({ promise: "a promise", found: "something", kept, timed });
  const verdict = (checks: Check[], busy: boolean) => verdictOf(judged(checks, busy));

  test.each<[string, Check[], boolean, Verdict]>([
    ["all kept", [check(true, true), check(true, false)], false, "kept"],
    ["all kept on a busy machine", [check(true, true), check(true, false)], true, "kept"],
    ["a time missed on a quiet machine", [check(false, true), check(true, false)], false, "broken"],
    ["a time missed on a busy machine", [check(false, true), check(true, false)], true, "inconclusive"],
    ["a leak on a busy machine", [check(true, true), check(false, false)], true, "broken"],
    ["a time missed and a leak on a busy machine", [check(false, true), check(false, false)], true, "broken"],
  ])("%s", (_, checks, busy, wanted) => expect(verdict(checks, busy)).toBe(wanted));

  const run = (late: number, loopP99: number, cpu: number, others: number) =>
    ({ sent: [{ late }], vitals: { surge: { loopP99, cpu } }, others: { surge: others } }) as unknown as Run;
  test.each<[string, Run, processors: number, boolean]>([
    ["all in time", run(9, 44, 0.64, 0.1), 2, false],
    ["a generator that is late", run(51, 44, 0.64, 0.1), 2, true],
    ["a loop that stands still without work of its own", run(9, 51, 0.74, 0.1), 2, true],
    ["a loop that stands still by its own work", run(9, 51, 0.76, 0.1), 2, false],
    ["another program that uses one of two processors", run(9, 44, 0.64, 1), 2, true],
    ["another program that uses one of eight", run(9, 44, 0.64, 1), 8, false],
    ["other programs that use seven of eight", run(9, 44, 0.64, 7), 8, true],
    ["other programs that leave one and a half", run(9, 44, 0.64, 0.5), 2, false],
    ["other programs that leave less", run(9, 44, 0.64, 0.51), 2, true],
    ["one processor, little of it used by others", run(9, 44, 0.64, 0.3), 1, false],
    ["one processor, more of it used by others", run(9, 44, 0.64, 0.31), 1, true],
  ])("the machine is busy elsewhere: %s", (_, replayed, processors, wanted) => {
    expect(machineBusy(replayed, processors)).toBe(wanted);
  });

  test("is the exit code, and only kept is 0", () => {
    expect(exitCodes).toEqual({ kept: 0, broken: 1, inconclusive: 75 });
  });

  test("is said by the lines of the promises, and by the last line", () => {
    const checks = judged([check(true, true), check(false, true), check(false, false)], true);
    expect(verdicts(checks).map((line) => line.split("  ")[0]?.trim())).toEqual(["kept", "?", "BROKEN"]);
    expect((["kept", "broken", "inconclusive"] as const).map((it) => conclusion(it).split(":")[1]?.trim())).toEqual([
      "kept",
      "BROKEN",
      "inconclusive",
    ]);
  });
});
