/** Tests at the same time under `gopark/leak/vitest`, some of which leak. Run by test/leak.vitest.test.ts. */
import { Channel, go } from "gopark";
import { afterEach, beforeEach, expect, test } from "vitest";

const never = new Channel<number>();

// Made for every test, and cleared away by it.
let stop: Channel<number>[] = [];
beforeEach(() => {
  const own = new Channel<number>();
  void own.receive();
  stop.push(own);
});
afterEach(() => {
  for (const own of stop) own.close();
  stop = [];
});

test("clean before", async () => {
  expect(await go(() => 1)).toBe(1);
});

test("leaks a receive", () => {
  void never.receive();
});

test("leaks later", async () => {
  await new Promise((resolve) => setTimeout(resolve, 1));
  void never.receive();
});

test("fails by itself", () => {
  void never.receive();
  expect(1).toBe(2);
});

test("clean after", async () => {
  expect(await go(() => 2)).toBe(2);
});
