/** Before each file of tests: `gc`, and how long a test may take. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { vi } from "vitest";
import { patience } from "./patience.ts";

// For the tests that collect garbage. Stryker's runner has threads, which take no `--expose-gc` of their own.
setFlagsFromString("--expose-gc");
globalThis.gc = runInNewContext("gc") as typeof gc;

// Many mutants wait forever, and this is how they are killed. Several times what the slowest test needs: it must not
// pass for one that hangs.
vi.setConfig({ testTimeout: patience(15_000) });
