/** The order of the tests in a mutant's run, those likeliest to fail first, and the end of a stuck thread. */
import { basename, relative } from "node:path";
import type { Worker } from "node:worker_threads";
import { patience } from "./patience.ts";

// The files that are mutated, from scripts/mutate.mjs.
const MUTATED = new Set((process.env.MUTATED ?? "").split(",").map((file) => basename(file, ".ts")));

/**
 * How long a thread may neither report nor idle, in milliseconds, on an idle machine. The first run of a process may be
 * the one without a mutant, which counts each pass through each mutant's place: loops take many times as long.
 */
const STUCK = 10_000;
const STUCK_AT_FIRST = 120_000;

interface File {
  readonly moduleId: string;
}

/** What is used of vitest's runner. */
interface Runner {
  readonly config: { readonly root: string };
  readonly cache: { getFileTestResults(key: string): { failed: boolean; duration: number } | undefined };
  readonly state: { catchError(error: unknown, type: string): void };
  cancelCurrentRun(reason: "test-failure"): Promise<void>;
}

/** Made by vitest for each run. */
export class Runs {
  readonly #runner: Runner;

  constructor(runner: Runner) {
    this.#runner = runner;
    guard(runner);
  }

  /**
   * A mutant's run ends at the first failure. So the module's own tests go first, then those that failed when they last
   * ran, and of these the short ones before the long.
   */
  sort(files: File[]): File[] {
    const rank = ({ moduleId }: File) => {
      const last = this.#runner.cache.getFileTestResults(`:${relative(this.#runner.config.root, moduleId)}`);
      const group = MUTATED.has(basename(moduleId).split(".")[0] ?? "") ? 0 : last?.failed ? 1 : 2;
      return { group, duration: last?.duration ?? 0 };
    };
    return files
      .map((file) => ({ file, ...rank(file) }))
      .toSorted((a, b) => a.group - b.group || a.duration - b.duration)
      .map(({ file }) => file);
  }

  shard(files: File[]): File[] {
    return files;
  }
}

let guarded: Runner | undefined;
let stuckAfter = STUCK_AT_FIRST;

/**
 * Ends a thread in an endless loop, and the run with it. Vitest's own timeout needs the thread's event loop, and
 * Stryker's is several times what all the tests of the mutant take, which may be all there are.
 */
function guard(runner: Runner): void {
  if (guarded === undefined) process.on("worker", watch);
  else stuckAfter = STUCK;
  guarded = runner;
}

function watch(worker: Worker): void {
  let alive = performance.now();
  let idle = 0;
  worker.on("message", () => {
    alive = performance.now();
  });
  const timer = setInterval(() => {
    const now = worker.performance.eventLoopUtilization().idle;
    if (now !== idle) alive = performance.now();
    idle = now;
    if (performance.now() - alive < patience(stuckAfter)) return;
    clearInterval(timer);
    // What scripts/mutate.mjs reads as a timeout.
    guarded?.state.catchError(
      new Error(`the thread is stuck: nothing from it for ${stuckAfter} ms and more`),
      "Unhandled Error",
    );
    void worker.terminate();
    void guarded?.cancelCurrentRun("test-failure");
  }, STUCK / 20);
  worker.on("exit", () => clearInterval(timer));
}
