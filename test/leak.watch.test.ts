/** The watch: places that have many and get more are told, others never. */
import { Channel } from "gopark/channel";
import { type Suspect, track, watch } from "gopark/leak";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { collectReported } from "./support/reported.ts";
import { turn } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";

beforeEach(() => track("full"));
afterEach(() => track("full"));

const growing = new Channel<number>();
const steady = new Channel<number>();
const grow = () => void growing.receive();
const stay = () => void steady.receive();

afterEach(() => {
  while (growing.trySend(1));
  while (steady.trySend(1));
});

/** Watches, with one more wait in `grow` at each look, until `onSuspect` has been called `times` times. */
async function looks(times: number, options: object): Promise<Suspect[][]> {
  const seen: Suspect[][] = [];
  await new Promise<void>((resolve) => {
    const more = setInterval(grow, 0);
    const stop = watch({
      every: 1,
      over: 4,
      growth: 0,
      onSuspect(suspects) {
        seen.push([...suspects]);
        if (seen.length < times) return;
        stop();
        clearInterval(more);
        resolve();
      },
      ...options,
    });
  });
  return seen;
}

test("tells places that have more than `over` and grow, not those that stay as they are", async () => {
  for (let i = 0; i < 10; i++) stay();
  const seen = await looks(3, {});
  for (const suspects of seen) {
    expect(suspects).toHaveLength(1);
    const [suspect] = suspects as [Suspect];
    expect(suspect.kind).toBe("chan receive");
    expect(suspect.stack).toContain("grow");
    expect(suspect.count).toBeGreaterThan(4);
    expect(suspect.growth).toBeGreaterThan(0);
    expect(suspect.oldestMs).toBeGreaterThanOrEqual(0);
  }
});

test("without records it tells kinds", async () => {
  track("counters");
  const [[suspect]] = (await looks(1, {})) as [[Suspect]];
  expect(suspect).toMatchObject({ kind: "chan receive", stack: undefined, oldestMs: undefined });
});

test("what was there at its beginning has not grown", async () => {
  for (let i = 0; i < 10; i++) stay();
  const seen: Suspect[][] = [];
  // One look at the beginning. The next is a minute away.
  const stop = watch({ every: 60_000, over: 1, growth: 0, onSuspect: (suspects) => seen.push([...suspects]) });
  await turn();
  stop();
  expect(seen).toEqual([]);
});

test("an error of onSuspect is reported, and the watch goes on", async () => {
  const reported = collectReported();
  let calls = 0;
  await new Promise<void>((resolve) => {
    const more = setInterval(grow, 0);
    const stop = watch({
      every: 1,
      over: 0,
      growth: 0,
      onSuspect() {
        calls++;
        if (calls === 2) {
          stop();
          clearInterval(more);
          resolve();
        }
        throw new Error(`call ${calls}`);
      },
    });
  });
  await turn();
  expect(reported).toEqual([new Error("call 1"), new Error("call 2")]);
});

test("once stopped it tells nothing more, not even from within onSuspect", async () => {
  const seen = await looks(1, {});
  grow();
  await new Promise((resolve) => setTimeout(resolve, 20)); // More than one look, if there were one.
  expect(seen).toHaveLength(1);
});

test.each([Number.POSITIVE_INFINITY, 2 ** 31])(
  "a pause that no timer can have, of %d ms, is a long one",
  async (every) => {
    let calls = 0;
    const more = setInterval(grow, 0);
    const stop = watch({ every, over: 0, growth: 0, onSuspect: () => calls++ });
    await new Promise((resolve) => setTimeout(resolve, 20));
    stop();
    clearInterval(more);
    expect(calls).toBe(0);
  },
);

test("once stopped it keeps nothing, though its next look was far", async () => {
  let isFree = false;
  const registry = new FinalizationRegistry(() => {
    isFree = true;
  });
  (function begin() {
    const onSuspect = () => {};
    registry.register(onSuspect, undefined);
    watch({ every: 60_000, onSuspect })();
  })();
  expect(await collectUntil(() => isFree)).toBe(true);
});

describe("refuses", () => {
  const onSuspect = () => {};
  test.each<[unknown, string]>([
    [undefined, "watch: onSuspect must be a function, got undefined"],
    [1, "watch: options must be an object, got 1"],
    [{ onSuspect, every: 0 }, "watch: every must be more than 0, got 0"],
    [{ onSuspect, every: "1" }, 'watch: every must be a number of milliseconds, got "1"'],
    [{ onSuspect, over: -1 }, "watch: over must be at least 0, got -1"],
    [{ onSuspect, growth: Number.NaN }, "watch: growth must be at least 0, got NaN"],
    [{ onSuspect, over: "1" }, 'watch: over must be a number, got "1"'],
  ])("%j", (options, message) => {
    expect(() => watch(options as never)).toThrow(message);
  });
});
