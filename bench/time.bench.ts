/** Many timers at once, compared with the host's. */
import { context, time } from "gopark";
import { check, type Row } from "./support/row.ts";
import { Tally } from "./support/tally.ts";

const HOUR = 3_600_000;
const root = context.withCancel(context.background()).ctx;

/** Arms `count` timeouts of an hour, holds them all at once, and cancels them. */
export function timers(count: number): void {
  const scopes = new Array<context.CancelScope>(count);
  for (let i = 0; i < count; i++) scopes[i] = context.withTimeout(root, HOUR);
  // Reads one error in a thousand: to build an error costs more than the timer.
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

/** The same without timers, to find the share of their heap. */
function contexts(count: number): void {
  const scopes = new Array<context.CancelScope>(count);
  for (let i = 0; i < count; i++) scopes[i] = context.withCancel(root);
  let ended = 0;
  for (const [i, [ctx, cancel]] of scopes.entries()) {
    cancel();
    if (i % 1000 === 0 && ctx.err() !== undefined) ended++;
  }
  check(ended, Math.ceil(count / 1000));
}

/** Parks `count` sleeps of an hour on one context, and cancels it. */
async function sleeps(count: number): Promise<void> {
  const [ctx, cancel] = context.withCancel(root);
  const rejected = new Tally(count);
  for (let i = 0; i < count; i++) time.sleep(HOUR, ctx).then(undefined, rejected.one);
  cancel();
  await rejected.all;
}

async function sleepsFloor(count: number): Promise<void> {
  const armed = new Array<{ readonly timer: NodeJS.Timeout; readonly reject: (reason: unknown) => void }>(count);
  const rejected = new Tally(count);
  for (let i = 0; i < count; i++) {
    const sleep = new Promise<void>((resolve, reject) => {
      armed[i] = { timer: setTimeout(resolve, HOUR), reject };
    });
    sleep.then(undefined, rejected.one);
  }
  for (const { timer, reject } of armed) {
    clearTimeout(timer);
    reject(HOUR);
  }
  await rejected.all;
}

export const rows: readonly Row[] = [
  {
    id: "timers.million",
    what: "withTimeout of an hour for 1 000 000 contexts, all held, then each cancelled (Go: AfterFunc and Stop): one timer",
    ops: 1_000_000,
    ours: () => timers(1_000_000),
    floor: () => timersFloor(1_000_000),
    floorIs: "setTimeout + clearTimeout, all held",
    targets: { floor: 1.9 },
    beyond: "timers.contexts",
  },
  {
    id: "timers.contexts",
    what: "timers.million with withCancel instead of withTimeout: one context",
    ops: 1_000_000,
    ours: () => contexts(1_000_000),
    floor: () => timersFloor(1_000_000),
    floorIs: "as in timers.million, setTimeout + clearTimeout, all held",
    slow: true,
  },
  {
    id: "timers.sleeps",
    what: "1 000 000 sleeps of an hour, all parked on one context, which is cancelled: one sleep",
    ops: 1_000_000,
    ours: () => sleeps(1_000_000),
    floor: () => sleepsFloor(1_000_000),
    floorIs: "a promise and setTimeout for each, all held, then clearTimeout and reject for each",
    slow: true,
  },
];
