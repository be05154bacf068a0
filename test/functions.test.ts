/** Functions that a user names, found on the lines of a stack as a host writes them. */
import { describe, expect, test } from "vitest";
import { type FunctionName, functionsLeftOut, isLeftOut, kindNames } from "../src/internal/track/functions.ts";

const at = (fn: string) => `    at ${fn} (/app/poller.js:3:14)`;

describe("the frame", () => {
  test.each<[string, string, boolean]>([
    ["poll", "poll", true],
    ["Poller.poll", "poll", true],
    ["Poller.poll", "Poller.poll", true],
    ["app.Poller.poll", "Poller.poll", true],
    ["Poller.poll", "oller.poll", false],
    ["repoll", "poll", false],
    ["poll", "Poller.poll", false],
    ["async poll", "poll", true],
    ["new Poller", "Poller", true],
    ["Object.poll", "poll", true],
    ["MyObject.poll", "MyObject.poll", true],
    ["renew Poller", "Poller", false],
    ["Poller.poll [as start]", "poll", true],
    ["Poller.poll [as start]", "start", false],
    ["Poller.poll [as start] twice", "poll [as start] twice", true],
    ["new Poller [as Other]", "Poller", true],
    ["<anonymous>", "", false],
  ])("of `%s` as one of `%s`: %j", (fn, wanted, is) => {
    expect(isLeftOut(at(fn), { creators: [wanted] })).toBe(is);
    expect(isLeftOut([at("other"), at(fn)].join("\n"), { anyFunction: [wanted] })).toBe(is);
  });

  test("that is no line of code matches no function", () => {
    for (const stack of ["", "    at async Promise.all (index 0)", "not a frame"]) {
      expect(isLeftOut(stack, { creators: ["poll"], anyFunction: ["poll"] })).toBe(false);
    }
  });
});

describe("a stack is left out", () => {
  const stack = ["poll", "Poller.start", "main"].map(at).join("\n");

  test.each<[object, boolean]>([
    [{}, false],
    [{ creators: [], anyFunction: [] }, false],
    [{ creators: ["main"] }, false],
    [{ creators: ["main", "poll"] }, true],
    [{ creators: [/poller\.js/] }, true],
    [{ creators: [/start/] }, false],
    [{ anyFunction: ["nobody", "main"] }, true],
    [{ anyFunction: ["nobody"] }, false],
    [{ anyFunction: [/start/, "nobody"] }, true],
    [{ creators: ["nobody"], anyFunction: ["start"] }, true],
  ])("by %j: %j", (leftOut, is) => expect(isLeftOut(stack, leftOut)).toBe(is));
});

describe("names", () => {
  test("are copied, and an expression loses the flags g and y", () => {
    const creators: FunctionName[] = ["poll", /poll/gi, /poll/i];
    const copy = functionsLeftOut({ creators }, "check: ");
    expect(copy).toEqual({ creators: ["poll", /poll/i, /poll/i], anyFunction: [] });
    creators.length = 0;
    expect(copy.creators).toHaveLength(3);
    const kinds = ["task"];
    expect(kindNames(kinds, "check: kinds")).toEqual(kinds);
    expect(kindNames(kinds, "check: kinds")).not.toBe(kinds);
    expect(kindNames(undefined, "check: kinds")).toEqual([]);
  });

  test("in a list with something else are refused", () => {
    expect(() => functionsLeftOut({ creators: ["poll", 7 as never] }, "check: ")).toThrow(
      "check: creators must be an array of strings and regular expressions, got 7",
    );
    expect(() => functionsLeftOut({ anyFunction: [/poll/, null as never] }, "check: ")).toThrow(
      "check: anyFunction must be an array of strings and regular expressions, got null",
    );
    expect(() => kindNames(["task", 7 as never], "check: kinds")).toThrow(
      "check: kinds must be an array of strings, got 7",
    );
  });
});
