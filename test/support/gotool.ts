/** `go tool pprof`, where Go is installed. */
import { execFile, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Whether there is a Go whose pprof runs. A file that needs it skips its tests without one, and this says so. */
export const hasGo: boolean = spawnSync("go", ["tool", "pprof", "-h"]).status !== null;
if (!hasGo) console.warn("SKIPPED: `go` is not installed (apt-get install golang-go), so pprof reads no profile here");

/** Runs `go tool pprof` with these arguments. Resolves to what it printed; rejects if it failed. */
export function pprofTool(...args: string[]): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), "gopark-pprof-"));
  const env = { ...process.env, PPROF_TMPDIR: folder, HOME: folder };
  return new Promise((resolve, reject) => {
    execFile("go", ["tool", "pprof", ...args], { cwd: folder, env }, (error, stdout, stderr) => {
      rmSync(folder, { recursive: true, force: true });
      if (error === null) resolve(stdout);
      else reject(new Error(`go tool pprof ${args.join(" ")}\n${stdout}${stderr}`));
    });
  });
}
