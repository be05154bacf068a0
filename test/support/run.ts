/** Whole processes on the built package. */
import { spawn } from "node:child_process";
import { ROOT } from "./examples.ts";

export interface Ended {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

export const IMPORT =
  'import { after, Channel, context, errgroup, go, leak, rate, select, semaphore, time } from "gopark";\n';

/**
 * Ends a module that is kept alive without reason: it prints "kept alive" and exits with 9. The timer is unref'd, so
 * that it does not itself keep the process alive.
 */
export const BOUND = 'setTimeout(() => { console.log("kept alive"); process.exit(9); }, 5_000).unref();\n';

/** Runs a module to its end. */
export function run(code: string, ...flags: string[]): Promise<Ended> {
  return runIn({}, code, ...flags);
}

/** The same, with more variables in its environment. */
export function runIn(variables: Record<string, string>, code: string, ...flags: string[]): Promise<Ended> {
  const env = { ...process.env, ...variables };
  const child = spawn(process.execPath, [...flags, "--input-type=module", "-e", code], { cwd: ROOT, env });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (err += chunk));
  return new Promise((resolve) => {
    child.on("close", (status) => resolve({ status, out, err }));
  });
}
