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
 * Ports the go statement. As there, the function's arguments are evaluated at the call: `void go(worker, ch, i)` starts
 * a task with these, whatever becomes of the variables. Differences from Go:
 *
 * - It returns a promise of the function's result. In Go a result is lost.
 * - A task runs until its first `await` without being interrupted, and then between any two.
 */
import { completed, notAFunction } from "./internal/time/turn.ts";
import { enter, exit, isObserved, type PublicFunction, runTask, TASK } from "./internal/track/tracker.ts";

/**
 * Runs `fn(...args)` as a task of its own and resolves or rejects as it does.
 *
 * `fn` begins in a microtask, never inside this call, and runs in the caller's async context. Rejects with what `fn`
 * throws, and with TypeError if `fn` is no function.
 */
export async function go<A extends readonly unknown[], T>(
  fn: (...args: A) => T | PromiseLike<T>,
  ...args: A
): Promise<T> {
  if (typeof fn !== "function") return notAFunction(fn, "go's task");
  const entry = enter(TASK, undefined, callers);
  try {
    await completed();
    return await (isObserved() ? observed(fn, args) : fn(...args));
  } finally {
    exit(TASK, entry);
  }
}

const callers = (): PublicFunction[] => [go];

// Apart from `go`: with the closure in it, every call would allocate what it captures.
function observed<A extends readonly unknown[], R>(fn: (...args: A) => R, args: A): R {
  return runTask(() => fn(...args));
}
