/** The processes of the comparison: ours, Go with one processor and with all, and the peers. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { Contender } from "./contender.ts";
import type { RowContender } from "./rounds.ts";
import type { Row } from "./row.ts";

export const WORKER = ".build/bench/worker.js";
const GO = ".build/bench-go";
const PEERS = "bench/peers";

/** Whether Go and the peers can run, and if not, why. */
export interface Availability {
  readonly go: boolean;
  readonly peers: boolean;
  readonly absent: Record<string, string>;
}

/**
 * Builds Go's contender and installs the peers if they are missing. A failure is noted in `absent`, and the rest runs.
 */
export function prepare(): Availability {
  const absent: Record<string, string> = {};
  const attempt = (name: string, command: string): boolean => {
    const { status, stderr } = spawnSync(command, { shell: true, encoding: "utf8" });
    if (status !== 0) absent[name] = `"${command}" failed: ${stderr.trim().split("\n").at(-1) ?? ""}`;
    return status === 0;
  };
  let go = spawnSync("go", ["version"]).status === 0;
  if (!go) absent.go = "go is not installed";
  else go = attempt("go", "sh bench/go/build.sh");
  const peers = existsSync(`${PEERS}/node_modules`) || attempt("peers", `cd ${PEERS} && npm ci --no-audit --no-fund`);
  return { go, peers, absent };
}

export class Contenders {
  readonly ours: Contender;
  readonly go1: Contender | undefined;
  readonly goN: Contender | undefined;
  readonly peers: Contender | undefined;

  private constructor(ours: Contender, go1?: Contender, goN?: Contender, peers?: Contender) {
    this.ours = ours;
    this.go1 = go1;
    this.goN = goN;
    this.peers = peers;
  }

  /** Starts a fresh process of each. One that does not start is left out, and `available.absent` says so. */
  static async start(available: Availability): Promise<Contenders> {
    const ours = await Contender.start(process.execPath, [WORKER]);
    const startIfAvailable = async (
      name: "go" | "peers",
      command: string,
      args: readonly string[],
      env?: NodeJS.ProcessEnv,
    ) => {
      if (!available[name]) return undefined;
      try {
        return await Contender.start(command, args, env);
      } catch (error) {
        available.absent[name] = `does not start: ${error}`;
        return undefined;
      }
    };
    return new Contenders(
      ours,
      await startIfAvailable("go", GO, [], { GOMAXPROCS: "1" }),
      await startIfAvailable("go", GO, []),
      await startIfAvailable("peers", process.execPath, [`${PEERS}/worker.mjs`]),
    );
  }

  /** The contenders of a row, in the order in which they take turns. */
  forRow(row: Row): RowContender[] {
    const found: RowContender[] = [];
    const side = (name: string) =>
      found.push({ name, warm: true, ask: (ms) => this.ours.ask(`${row.id} ${name} ${ms}`) });
    side("ours");
    if (row.floor !== undefined) side("floor");
    const id = row.goRow ?? row.id;
    for (const name of ["go1", "goN"] as const) {
      const go = this[name];
      if (go === undefined || !(go.hello.rows as readonly string[]).includes(id)) continue;
      found.push({ name, warm: false, ask: (ms) => go.ask(`${id} ${ms}`) });
    }
    for (const peer of this.peersOf(row.id)) {
      const { peers } = this;
      if (peers !== undefined)
        found.push({ name: peer, warm: true, ask: (ms) => peers.ask(`${row.id} ${peer} ${ms}`) });
    }
    return found;
  }

  peersOf(id: string): readonly string[] {
    return (this.peers?.hello.rows as Readonly<Record<string, readonly string[]>> | undefined)?.[id] ?? [];
  }

  stop(): void {
    for (const contender of [this.ours, this.go1, this.goN, this.peers]) contender?.stop();
  }
}
