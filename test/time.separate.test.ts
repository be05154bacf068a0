/** Alarms apart from those of the program, as a bubble of virtual time has them. */
import { go } from "gopark/go";
import { sleep, Timer } from "gopark/time";
import { afterEach, expect, test } from "vitest";
import { setVirtualNow } from "../src/internal/time/clock.ts";
import { alarms, armed, fireDue, firstAlarm, separateAlarms } from "../src/internal/time/timers.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const realSetTimeout = setTimeout;

afterEach(() => {
  globalThis.setTimeout = realSetTimeout;
  setVirtualNow(undefined);
});

test("the program's alarms are put aside, and come back; those that are armed then are abandoned", async () => {
  const before = armed();
  const outer = new Timer(3_600_000);
  const slept = watch(sleep(1));
  const back = separateAlarms();
  expect([armed(), firstAlarm()]).toEqual([0, undefined]);

  let at = 100;
  globalThis.setTimeout = (() => expect.unreachable()) as never;
  setVirtualNow(() => at);
  const inner = [new Timer(5), new Timer(3)];
  const innerSleep = watch(sleep(4));
  expect([armed(), firstAlarm()?.when]).toEqual([3, 103]);
  at = 104;
  fireDue();
  await turn();
  expect([inner[1]?.c.tryReceive()?.value, innerSleep.state, firstAlarm()?.when]).toEqual([104, "fulfilled", 105]);
  expect(outer.stop()).toBe(true);
  expect(outer.stop()).toBe(false);

  globalThis.setTimeout = realSetTimeout;
  setVirtualNow(undefined);
  back();
  expect(armed()).toBe(before + 1);
  await go(() => sleep(5));
  expect(slept.state).toBe("fulfilled");
  expect([...alarms()].length).toBe(before);
  expect(inner[0]?.stop()).toBe(true);
  expect(inner[0]?.stop()).toBe(false);
  inner[0]?.reset(3_600_000);
  expect(armed()).toBe(before + 1);
  expect(inner[0]?.stop()).toBe(true);
});
