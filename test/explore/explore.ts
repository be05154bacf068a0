/**
 * Explorers: seeded random programs against a naive reference, a few hundred in `npm test` and tens of thousands in
 * `npm run explore`. A failed program names its seed; `SEED=7 npm run explore -- channels` runs that one again.
 *
 * Whatever a program does, it leaves nothing behind: the counters are where they were, no fake timer is armed, and no
 * error was reported or went unhandled except those that the explorer took out of `reported`.
 */
import { basename } from "node:path";
import { counters, track } from "gopark/leak";
import { expect, test, vi } from "vitest";
import { type Random, random } from "../support/random.ts";
import { turn } from "../support/turn.ts";

/** The state that the explorer shares with one program. */
export interface Program {
  /** Errors that were reported or thrown uncaught, and unhandled rejections, in order. */
  readonly reported: unknown[];
  /** Logs a step. A failure prints the end of the log. */
  log(line: string): void;
  /** How many steps to run of a program of n: all, or STEPS of them. */
  length(n: number): number;
}

export interface ExploreOptions {
  /** How many seeds `npm test` runs. */
  readonly quick?: number;
  /** How many seeds `npm run explore` runs. */
  readonly full?: number;
}

/** How many lines of a failed program's log are shown. */
const SHOWN = 80;

/** How often a long exploration prints its progress, in milliseconds. */
const PROGRESS = 3000;

/** After how many milliseconds a program that has not ended fails. */
const HANGS = 60_000;

const realSetTimeout = setTimeout;
const realClearTimeout = clearTimeout;

const { EXPLORE, FROM, SEED, STEPS } = process.env;

/**
 * Registers a test that runs one program per seed, until one fails. Every eighth runs under full tracking.
 *
 * The seeds are 1 to `quick`; with EXPLORE=full, `full` of them from FROM on, 1 by default; with SEED, only that one.
 */
export function explore(
  name: string,
  runOne: (seed: number, random: Random, program: Program) => Promise<void> | void,
  { quick = 300, full = 20_000 }: ExploreOptions = {},
): void {
  const first = Number(SEED ?? FROM ?? 1);
  const programs = SEED !== undefined ? 1 : EXPLORE === "full" ? full : quick;

  test(`${name}: ${programs} random programs from seed ${first} on`, { timeout: 3_600_000 }, async () => {
    await collecting(async (reported) => {
      let said = performance.now();
      for (let seed = first; seed < first + programs; seed++) {
        await checked(seed, runOne, reported);
        if (performance.now() - said < PROGRESS) continue;
        said = performance.now();
        console.log(`${name}: ${seed - first + 1} of ${programs} programs`);
      }
    });
  });
}

async function checked(
  seed: number,
  runOne: (seed: number, random: Random, program: Program) => Promise<void> | void,
  reported: unknown[],
): Promise<void> {
  const lines: string[] = [];
  const program: Program = {
    reported,
    log: (line) => {
      lines.push(line);
    },
    length: (n) => Math.min(n, STEPS === undefined ? n : Number(STEPS)),
  };
  reported.length = 0;
  track(seed % 8 === 0 ? "full" : "counters");
  const before = counters();
  try {
    await inTime(runOne(seed, random(seed), program));
    // Rejections become unhandled, and completions over the budget resolve, at the end of a turn.
    for (let i = 0; i < 2; i++) await turn();
    expect(reported, "errors that were reported or went unhandled").toEqual([]);
    expect(counters(), "what is still counted after the program").toEqual({ ...zeros(), ...before });
    if (vi.isFakeTimers()) expect(vi.getTimerCount(), "fake timers still armed after the program").toBe(0);
  } catch (error) {
    throw named(error, seed, lines);
  } finally {
    vi.useRealTimers();
    track("full");
  }
}

/** A program that hangs fails, so that its seed is printed. No program takes a thousandth of that time. */
async function inTime(running: Promise<void> | void): Promise<void> {
  let guard: NodeJS.Timeout | undefined;
  const hung = new Promise<never>((_, reject) => {
    guard = realSetTimeout(() => reject(new Error("the program hangs")), HANGS);
  });
  try {
    await Promise.race([running, hung]);
  } finally {
    realClearTimeout(guard);
  }
}

/** All kinds so far, at zero: kinds may be added while a program runs. */
function zeros(): Record<string, number> {
  return Object.fromEntries(Object.keys(counters()).map((kind) => [kind, 0]));
}

/**
 * The failure, with the seed, the program and the command to run. Keeps an assertion's own error, whose diff is shown.
 */
function named(failure: unknown, seed: number, lines: readonly string[]): Error {
  const file = basename(expect.getState().testPath ?? "", ".test.ts");
  const error = failure instanceof Error ? failure : new Error(String(failure), { cause: failure });
  const log = [...(lines.length > SHOWN ? [`(${lines.length - SHOWN} lines before)`] : []), ...lines.slice(-SHOWN)];
  error.message = [
    `seed ${seed}: ${error.message}`,
    "",
    ...log.map((line) => `  ${line}`),
    "",
    `again: SEED=${seed} npm run explore -- ${file}`,
  ].join("\n");
  return error;
}

/**
 * Runs the body with every uncaught error and unhandled rejection collected, in place of the test runner's listeners.
 */
async function collecting(body: (reported: unknown[]) => Promise<void>): Promise<void> {
  const reported: unknown[] = [];
  const collect = (error: unknown) => {
    reported.push(error);
  };
  const events = ["unhandledRejection", "uncaughtException"] as const;
  const listeners = events.map((event) => process.listeners(event as "uncaughtException"));
  const host = globalThis as { reportError?: (error: unknown) => void };
  const { reportError } = host;
  for (const event of events) process.removeAllListeners(event).on(event, collect);
  host.reportError = collect;
  try {
    await body(reported);
    for (let i = 0; i < 3; i++) await turn();
  } finally {
    if (reportError === undefined) delete host.reportError;
    else host.reportError = reportError;
    for (const [i, event] of events.entries()) {
      process.off(event, collect);
      for (const listener of listeners[i] ?? []) process.on(event as "uncaughtException", listener);
    }
  }
}
