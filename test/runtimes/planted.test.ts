/** Planted leaks in other versions of Node: see test/leak.planted.test.ts. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT } from "../support/examples.ts";
import { accused, type Planted, strange } from "../support/plantedreport.ts";
import { programs } from "./hosts.ts";

const versions = Object.entries(programs).filter(([name]) => name.startsWith("Node 2"));

test("there are three", () => {
  expect(versions).toHaveLength(3);
});

test.each(versions)("%s: planted leaks are found and proved, and slow waits are not", async (_, run) => {
  const planted = JSON.parse(await run(ROOT, join("test", "support", "plantedleaks.mjs"))) as Planted;
  expect({ ...strange(planted.reachable), ...strange(planted.unreachable), ...accused(planted.slow) }).toEqual({});
  expect(Object.keys(planted.unreachable).length).toBeGreaterThanOrEqual(40);
  expect(Object.keys(planted.slow).length).toBeGreaterThanOrEqual(20);
});
