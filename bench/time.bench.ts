/** Many timers at once, beside the host's. */
import { context } from "gopark";
import { check, type Row } from "./support/row.ts";

const HOUR = 3_600_000;
const root = context.withCancel(context.background()).ctx;

/** Arms `count` timeouts of an hour, holds them all at once, and cancels them. */
export function timers(count: number): void {
  const scopes = new Array<context.CancelScope>(count);
  for (let i = 0; i < count; i++) scopes[i] = context.withTimeout(root, HOUR);
  // One in a thousand is asked for its error: building it would cost more than the timer.
  let ended = 0;
  for (const [i, [ctx, cancel]] of scopes.entries()) {
    cancel();
    if (i % 1000 === 0 && ctx.err() !== undefined) ended++;
  }
  check(ended, Math.ceil(count / 1000));
}

export function timersFloor(count: number): void {
  const armed = new Array<NodeJS.Timeout>(count);
  for (let i = 0; i < count; i++) armed[i] = setTimeout(() => {}, HOUR);
  let cleared = 0;
  for (const timer of armed) {
    if (timer.hasRef()) cleared++;
    clearTimeout(timer);
  }
  check(cleared, count);
}

export const rows: readonly Row[] = [
  {
    id: "timers.million",
    what: "withTimeout of an hour for 1 000 000 contexts, all held, then each cancelled (Go: AfterFunc and Stop): one timer",
    ops: 1_000_000,
    ours: () => timers(1_000_000),
    floor: () => timersFloor(1_000_000),
    floorIs: "setTimeout + clearTimeout, all held",
  },
];
