/**
 * The go statement: starts a task, and counts it while it runs.
 *
 * Rules of use:
 *
 * - Await what `go` returns, or hand it to an errgroup. An error that nobody handles is reported by the host as any
 *   unhandled rejection is; it is never swallowed.
 * - Know how the task ends before you start it: give it a context.
 *
 * ```ts
 * import { go } from "gopark";
 *
 * const answer = go(async () => 6 * 7);
 * console.log("started");
 * console.log(await answer);
 * // Output:
 * // started
 * // 42
 * ```
 *
 * Ports the go statement. Differences from Go:
 *
 * - It returns a promise of the function's result. In Go a result is lost.
 * - A task runs until its first `await` without being interrupted, and then between any two.
 */
import { callable } from "./internal/errors.ts";
import { closed, opened, TASK } from "./internal/tracker.ts";
import { completed } from "./internal/turn.ts";

/**
 * Runs `fn` as a task of its own and resolves or rejects as it does.
 *
 * `fn` begins in a microtask, never inside this call, and runs in the caller's async context. Rejects with what `fn`
 * throws, and with TypeError if `fn` is no function.
 */
export async function go<T>(fn: () => T | PromiseLike<T>): Promise<T> {
  callable(fn, "go's task");
  const entry = opened(TASK);
  try {
    await completed();
    return await fn();
  } finally {
    closed(TASK, entry);
  }
}
