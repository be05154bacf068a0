/**
 * Planted leaks of many sorts, fifty of each, in a process of their own: all are found with the line that made them,
 * and those that nothing can end are proved. Waits that are only slow are not.
 */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";
import { answer } from "./support/hosts.ts";

interface Planted {
  readonly reachable: Record<string, Found>;
  readonly unreachable: Record<string, Found>;
  /** What was proved of the slow waits, by sort. */
  readonly slow: Record<string, string[]>;
}

interface Found {
  readonly found: number;
  readonly proved: number;
  /** Whether each has a stack that begins in the program. */
  readonly named: boolean;
  readonly provable: boolean;
}

let planted: Planted;
beforeAll(async () => {
  planted = await answer<Planted>(ROOT, "--expose-gc", join(ROOT, "test/support/plantedleaks.mjs"));
}, 60_000);

const EACH = 50;

describe.each(["reachable", "unreachable"] as const)("%s", (which) => {
  test("each leak is found, with its line, and proved if nothing can end it", () => {
    const strange = Object.entries(planted[which]).filter(
      ([, { found, proved, named, provable }]) => found !== EACH || !named || proved !== (provable ? EACH : 0),
    );
    expect(Object.fromEntries(strange)).toEqual({});
    expect(Object.keys(planted[which]).length).toBeGreaterThanOrEqual(40);
  });
});

test("slow waits are not proved, however often the collector runs", () => {
  expect(Object.fromEntries(Object.entries(planted.slow).filter(([, proved]) => proved.length > 0))).toEqual({});
  expect(Object.keys(planted.slow).length).toBeGreaterThanOrEqual(20);
});
