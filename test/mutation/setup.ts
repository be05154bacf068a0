/** Before each file of tests: `gc`, how long a test may take, and room for the coverage. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { inject, vi } from "vitest";
import { patience } from "./patience.ts";

// For the tests that collect garbage. Stryker's runner has threads, which take no `--expose-gc` of their own.
setFlagsFromString("--expose-gc");
globalThis.gc = runInNewContext("gc") as typeof gc;

// Many mutants wait forever, and this is how they are killed. Several times what the slowest test needs: it must not be
// taken for one that hangs. The run without a mutant counts each pass through each mutant's place, which takes a test
// of a tight loop many times as long; nothing hangs in it.
vi.setConfig({ testTimeout: patience(inject("mode") === "dry-run" ? 120_000 : 4_000) });

// Stryker makes this when the first mutant runs. If none does in any test, it takes them to be of unknown coverage,
// runs all tests for each, and counts them as survivors.
declare global {
  var __stryker__: { mutantCoverage?: { static: object; perTest: object } } | undefined;
}
if (globalThis.__stryker__ !== undefined) globalThis.__stryker__.mutantCoverage ??= { static: {}, perTest: {} };

// What Stryker's runner tells the tests of a run.
declare module "vitest" {
  interface ProvidedContext {
    mode: "dry-run" | "mutant";
  }
}
