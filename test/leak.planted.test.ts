/**
 * Planted leaks of many sorts, fifty of each, in a process of their own: all are found with the line that made them,
 * and those that nothing can end are proved. Waits that are only slow are not.
 */
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";
import { answer } from "./support/hosts.ts";
import { accused, type Planted, strange } from "./support/plantedreport.ts";

let planted: Planted;
beforeAll(async () => {
  planted = await answer<Planted>(ROOT, "--expose-gc", join(ROOT, "test/support/plantedleaks.mjs"));
}, 60_000);

describe.each(["reachable", "unreachable"] as const)("%s", (which) => {
  test("each leak is found, with its line, and proved if nothing can end it", () => {
    expect(strange(planted[which])).toEqual({});
    expect(Object.keys(planted[which]).length).toBeGreaterThanOrEqual(40);
  });
});

test("slow waits are not proved, however often the collector runs", () => {
  expect(accused(planted.slow)).toEqual({});
  expect(Object.keys(planted.slow).length).toBeGreaterThanOrEqual(20);
});
