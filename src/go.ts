/**
 * The go statement: starts a task, and counts it while it runs.
 *
 * Rules of use:
 *
 * - Await what `go` returns, or use an errgroup. An error that nobody handles is an unhandled rejection, which the host
 *   reports; it is never swallowed.
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
 * - `go` takes a function and returns a promise of its result. Go's statement takes a call, and its result is lost.
 * - `go f(x)` is `void go(f, x)`. As in Go, the arguments are evaluated at the call, and a variable that the function
 *   captures is read when the task runs.
 * - All tasks share one thread. A task runs without interruption until its next `await`, and blocks everything else if
 *   it computes for long.
 * - A task that throws rejects its promise. A panic in Go ends the program, unless the goroutine itself recovers.
 */
import { completed, notAFunction } from "./internal/time/turn.ts";
import { enter, exit, isObserved, type PublicFunction, runTaskWith, TASK } from "./internal/track/tracker.ts";

// The public functions at which the stack of a record begins.
const entryPoints = (): PublicFunction[] => [go];

/**
 * Calls `fn(...args)` as a task of its own, and resolves or rejects as it does. Rejects with TypeError if `fn` is not a
 * function.
 *
 * `fn` starts in a microtask, never inside this call, and runs in the caller's async context. The task is counted from
 * this call on, until what `fn` returns has settled.
 */
export async function go<A extends readonly unknown[], T>(
  fn: (...args: A) => T | PromiseLike<T>,
  ...args: A
): Promise<T> {
  if (typeof fn !== "function") return notAFunction(fn, "go: fn");
  const record = enter(TASK, undefined, entryPoints);
  try {
    await completed();
    if (isObserved()) return await runTaskWith(record, fn, ...args);
    // Most tasks have no arguments, and a spread of none would cost more than a call.
    return await (args.length === 0 ? (fn as () => T | PromiseLike<T>)() : fn(...args));
  } finally {
    exit(TASK, record);
  }
}
