/** The internal checks of arguments, and values as their errors show them. */
import { describe, expect, test } from "vitest";
import {
  duration,
  finiteInstant,
  instant,
  isObject,
  isThenable,
  noGenerator,
  optionsOf,
  show,
  validName,
  wholeNumber,
} from "../src/internal/data/args.ts";

class Shop {}

describe("a value is shown", () => {
  const forty = "x".repeat(40);
  test.each<[unknown, string]>([
    [undefined, "undefined"],
    [null, "null"],
    [-0, "0"],
    [10n, "10"],
    [Symbol("s"), "Symbol(s)"],
    ["two words", '"two words"'],
    [forty, `"${forty}"`],
    [`${forty}y`, `"${forty}…"`],
    [Symbol("a \n\t b"), "Symbol(a b)"],
    [Symbol("x".repeat(32)), `Symbol(${"x".repeat(32)})`],
    [Symbol("x".repeat(33)), `Symbol(${"x".repeat(33)}…`],
    [{}, "an object (Object)"],
    [new Shop(), "an object (Shop)"],
    [Object.create(null), "an object (no constructor)"],
    [{ constructor: undefined }, "an object (no constructor)"],
    [{ constructor: { name: 5 } }, "an object (no constructor)"],
    [Shop, "function Shop"],
    [() => {}, "function (anonymous)"],
    [Object.defineProperty(() => {}, "name", { value: 5 }), "function (anonymous)"],
  ])("%o", (value, text) => {
    expect(show(value)).toBe(text);
  });

  test("even if it throws when it is asked for its name", () => {
    const throwing = {
      get constructor(): never {
        throw new Error("not now");
      },
    };
    expect(show(throwing)).toBe("an object (no constructor)");
  });
});

describe("numbers", () => {
  test("wholeNumber takes safe integers from the least on, and gives 0 for -0", () => {
    expect([wholeNumber(-0, "n"), wholeNumber(7, "n", 7), wholeNumber(2 ** 53 - 1, "n")]).toEqual([0, 7, 2 ** 53 - 1]);
    for (const n of [-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => wholeNumber(n, "n")).toThrow(new RangeError(`n must be a whole number from 0 to 2^53-1, got ${n}`));
    }
    expect(() => wholeNumber(6, "n", 7)).toThrow(new RangeError("n must be a whole number from 7 to 2^53-1, got 6"));
    expect(() => wholeNumber("1" as never, "n")).toThrow(new TypeError('n must be a whole number, got "1"'));
  });

  test("duration takes any number but NaN", () => {
    expect([-1, 0.5, Number.NEGATIVE_INFINITY].map((ms) => duration(ms, "ms"))).toEqual([
      -1,
      0.5,
      Number.NEGATIVE_INFINITY,
    ]);
    expect(() => duration(Number.NaN, "ms")).toThrow(new RangeError("ms must be a number of milliseconds, got NaN"));
    expect(() => duration(1n as never, "ms")).toThrow(new TypeError("ms must be a number of milliseconds, got 1"));
  });

  test("instant takes numbers but NaN, and Dates that are valid", () => {
    expect([instant(5, "at"), instant(new Date(5), "at"), instant(Number.POSITIVE_INFINITY, "at")]).toEqual([
      5,
      5,
      Number.POSITIVE_INFINITY,
    ]);
    expect(() => instant(Number.NaN, "at")).toThrow(new RangeError("at must be an instant, got NaN"));
    expect(() => instant(new Date(Number.NaN), "at")).toThrow(
      new RangeError("at must be an instant, got Invalid Date"),
    );
    expect(() => instant("5" as never, "at")).toThrow(
      new TypeError('at must be epoch milliseconds or a Date, got "5"'),
    );
    const odd = { valueOf: () => 5 } as never;
    expect(() => instant(odd, "at")).toThrow("at must be epoch milliseconds or a Date, got an object (Object)");
  });

  test("finiteInstant takes those that are finite", () => {
    expect(finiteInstant(new Date(5), "at")).toBe(5);
    for (const at of [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
      expect(() => finiteInstant(at, "at")).toThrow(new RangeError(`at must be a finite instant, got ${at}`));
    }
  });
});

describe("objects", () => {
  test("optionsOf takes objects, and undefined and null for none", () => {
    const options = { a: 1 };
    expect([optionsOf(options, "options") === options, optionsOf(undefined, "options")]).toEqual([true, {}]);
    expect(optionsOf(null as never, "options")).toEqual({});
    expect(() => optionsOf(5 as never, "options")).toThrow(new TypeError("options must be an object, got 5"));
    expect(() => optionsOf((() => {}) as never, "options")).toThrow(TypeError);
  });

  test("validName takes well-formed text", () => {
    expect([validName("", "name"), validName("a 🙂", "name")]).toEqual(["", "a 🙂"]);
    expect(() => validName("\ud83d", "name")).toThrow(RangeError);
    expect(() => validName(5 as never, "name")).toThrow(new TypeError("name must be a string, got 5"));
  });

  test("isObject, isThenable", () => {
    const values = [
      {},
      () => {},
      null,
      undefined,
      "x",
      5,
      { then: 5 },
      { then() {} },
      Object.assign(() => {}, { then() {} }),
    ];
    expect(values.map(isObject)).toEqual([true, true, false, false, false, false, true, true, true]);
    expect(values.map(isThenable)).toEqual([false, false, false, false, false, false, false, true, true]);
  });

  test("noGenerator refuses generators, and nothing else", () => {
    const values = [null, undefined, 5, "x", {}, [].values(), () => {}];
    expect(values.map((value) => noGenerator(value, "fn"))).toEqual(values);
    const generators = [(function* () {})(), (async function* () {})()];
    for (const it of generators) {
      expect(() => noGenerator(it, "fn")).toThrow(new TypeError("fn must not be a generator function"));
    }
  });
});
