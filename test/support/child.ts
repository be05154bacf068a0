/** Programs in a process of their own, on the built package. */
import { spawn } from "node:child_process";
import { ROOT } from "./examples.ts";

const PRELUDE = `
  import { after, Channel, context, errgroup, go, leak, pool, rate, select, semaphore, shardmap, time } from "gopark";
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  // Collects until done, at most twenty times, with a turn for the finalizers after each; returns whether it is.
  const collectUntil = async (done) => {
    for (let i = 0; i < 20 && !done(); i++) {
      gc();
      await turn();
    }
    return done();
  };
`;

/**
 * Runs a module to its end under --expose-gc, everything of `gopark` imported, with `turn()` and `collectUntil(done)`.
 * Returns the lines that it printed. Rejects if it exits with another code than 0 or writes to stderr.
 */
export function child(code: string): Promise<string[]> {
  const running = spawn(process.execPath, ["--expose-gc", "--input-type=module", "-e", PRELUDE + code], { cwd: ROOT });
  let out = "";
  let err = "";
  running.stdout.on("data", (chunk) => (out += chunk));
  running.stderr.on("data", (chunk) => (err += chunk));
  return new Promise((resolve, reject) => {
    running.on("error", reject).on("close", (status) => {
      if (status === 0 && err === "") resolve(out.split("\n").slice(0, -1));
      else reject(new Error(`exit code ${status}\n${out}${err}`));
    });
  });
}
