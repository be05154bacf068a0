import { turn } from "./turn.ts";
import { collecting } from "./uncaught.ts";

/**
 * Runs the body with unhandled rejections collected in `seen`, in place of the test runner's listeners, which would
 * fail the run. Returns the reasons seen until some turns after the body.
 */
export async function unhandledDuring(body: (seen: readonly unknown[]) => Promise<void>): Promise<unknown[]> {
  const seen: unknown[] = [];
  const end = collecting("unhandledRejection", (reason) => seen.push(reason));
  try {
    await body(seen);
    for (let i = 0; i < 3; i++) await turn();
  } finally {
    end();
  }
  return seen;
}

/** Collects garbage until `done`, at most ten times, a turn for the finalizers after each; returns whether it is. */
export async function collectUntil(done: () => boolean): Promise<boolean> {
  const gc = globalThis.gc;
  if (gc === undefined) throw new Error("run with --expose-gc");
  for (let i = 0; i < 10 && !done(); i++) {
    gc();
    await turn();
  }
  return done();
}
