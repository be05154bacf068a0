/** Runs the tests of one file in this runtime, by vitest's own runner, and says how they ended. */
import { type File, startTests, type Task, type VitestRunner } from "@vitest/runner";

// Bun's collector is called otherwise.
const { Bun } = globalThis as { Bun?: { gc(force: boolean): void } };
if (Bun !== undefined) (globalThis as { gc?: unknown }).gc ??= () => Bun.gc(true);

/** A test that has failed, by its full name. One that has left something behind may be there twice. */
export interface Failure {
  readonly test: string;
  readonly error: string;
}

/** How the tests of one file ended. */
export interface Outcome {
  readonly passed: number;
  readonly skipped: number;
  readonly failed: readonly Failure[];
}

/** `setup` and `load` import the set-up file and the test file. */
export async function run(file: string, setup: () => Promise<unknown>, load: () => Promise<unknown>): Promise<Outcome> {
  const runner: VitestRunner = {
    config: {
      root: "/",
      setupFiles: ["setup"],
      passWithNoTests: false,
      testNamePattern: undefined,
      allowOnly: false,
      sequence: { shuffle: false, concurrent: false, seed: 0, hooks: "stack", setupFiles: "list" },
      chaiConfig: undefined,
      maxConcurrency: 5,
      testTimeout: 60_000,
      hookTimeout: 60_000,
      retry: 0,
      includeTaskLocation: false,
      diffOptions: undefined,
      tags: [],
      tagsFilter: undefined,
      strictTags: false,
    } as never,
    importFile: (path) => (path === "setup" ? setup() : load()),
  };
  const [outcome] = await startTests([file], runner);
  return ended(outcome as File);
}

function ended(file: File): Outcome {
  const counts = { passed: 0, skipped: 0, failed: [] as Failure[] };
  const visit = (task: Task, path: string) => {
    const name = path === "" ? task.name : `${path} > ${task.name}`;
    for (const { message, stack } of task.result?.errors ?? [])
      counts.failed.push({ test: name, error: stack ?? message });
    if (task.type === "suite") {
      for (const inner of task.tasks) visit(inner, task === file ? "" : name);
    } else if (task.mode === "skip" || task.result?.state === "skip") counts.skipped++;
    else if (task.result?.state === "pass") counts.passed++;
    else if (task.result?.errors === undefined)
      counts.failed.push({ test: name, error: task.result?.state ?? "did not run" });
  };
  visit(file, "");
  return counts;
}
