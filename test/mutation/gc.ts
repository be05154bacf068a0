/** `gc` for the tests that collect garbage. Stryker's runner has threads, which take no `--expose-gc` of their own. */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
globalThis.gc = runInNewContext("gc") as typeof gc;
