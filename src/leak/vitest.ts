/**
 * The leak check as a set-up file of vitest, from 4.1: `setupFiles: ["gopark/leak/vitest"]` in its configuration. Acts
 * by being imported: turns full tracking on, and runs each test in a scope of its own, with its `beforeEach` and
 * `afterEach` hooks. A test that leaves something behind fails with LeakError, and it alone does: also among tests that
 * run at the same time, and what it has left behind does not make a later one fail. What `beforeAll` makes is not
 * looked at. A test that sets another level of tracking fails if no leak is found, as not all could be, and so do those
 * after it, until the level is "full" again.
 *
 * For other options than none, write these lines in a set-up file of your own:
 *
 * ```ts no-run
 * import { leak } from "gopark";
 * import { aroundEach } from "vitest";
 *
 * leak.track("full");
 * aroundEach((runTest) => leak.scoped(runTest, { kinds: ["timer"] }));
 * ```
 *
 * The module is for tests under vitest alone, and needs a host with AsyncLocalStorage.
 */
import { aroundEach } from "vitest";
import { scoped, track } from "../leak.ts";

track("full");
aroundEach((runTest) => scoped(runTest));
