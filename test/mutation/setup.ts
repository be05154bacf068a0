/** Before each file of tests: `gc`, how long a test may take, and room for the coverage. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { vi } from "vitest";
import { patience } from "./patience.ts";

// For the tests that collect garbage. Stryker's runner has threads, which take no `--expose-gc` of their own.
setFlagsFromString("--expose-gc");
globalThis.gc = runInNewContext("gc") as typeof gc;

// Many mutants wait forever, and this is how they are killed. Several times what the slowest test needs: it must not be
// taken for one that hangs.
vi.setConfig({ testTimeout: patience(4_000) });

// Stryker makes this when the first mutant runs. If none does in any test, it takes them to be of unknown coverage,
// runs all tests for each, and counts them as survivors.
declare global {
  var __stryker__: { mutantCoverage?: { static: object; perTest: object } } | undefined;
}
if (globalThis.__stryker__ !== undefined) globalThis.__stryker__.mutantCoverage ??= { static: {}, perTest: {} };
