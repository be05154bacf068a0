/** Branded error classes that extend each other, in one copy of the package and in two. */
import { expect, test } from "vitest";
import { brand } from "../src/internal/host/errors.ts";

/** The classes, as each copy of the package makes them. */
function copy() {
  class Base extends Error {
    static {
      brand(this, "BaseError");
    }
  }
  class Derived extends Base {
    static {
      brand(this, "DerivedError", "OtherName");
    }
  }
  class Users extends Derived {}
  return { Base, Derived, Users };
}

test("an error of a branded class is an instance of the branded classes that it extends, and of no other", () => {
  const one = copy();
  const two = copy();
  const base = new one.Base();
  const derived = new one.Derived();
  const users = new one.Users();
  for (const { Base, Derived } of [one, two]) {
    expect([base instanceof Base, derived instanceof Base, users instanceof Base]).toEqual([true, true, true]);
    expect([base instanceof Derived, derived instanceof Derived, users instanceof Derived]).toEqual([
      false,
      true,
      true,
    ]);
  }
  expect([derived instanceof one.Users, users instanceof one.Users, users instanceof two.Users]).toEqual([
    false,
    true,
    false,
  ]);
  expect([base.name, derived.name]).toEqual(["BaseError", "OtherName"]);
  for (const stranger of [new Error("x"), {}, null, { __proto__: null }]) {
    expect(stranger instanceof one.Base).toBe(false);
  }
});
