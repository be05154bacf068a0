/** The processes of the comparison: ours, Go with one processor and with all, and the peers. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { Contender } from "./contender.ts";
import type { Seat } from "./rounds.ts";
import type { Row } from "./row.ts";

export const WORKER = ".build/bench/worker.js";
const GO = ".build/bench-go";
const PEERS = "bench/peers";

/** Which foreign contenders can run, and why the others cannot. */
export interface Guests {
  readonly go: boolean;
  readonly peers: boolean;
  readonly absent: Record<string, string>;
}

/** Builds Go's contender and installs the peers where they are missing. What cannot be had is said, not fatal. */
export function prepare(): Guests {
  const absent: Record<string, string> = {};
  const attempt = (who: string, command: string): boolean => {
    const { status, stderr } = spawnSync(command, { shell: true, encoding: "utf8" });
    if (status !== 0) absent[who] = `"${command}" failed: ${stderr.trim().split("\n").at(-1) ?? ""}`;
    return status === 0;
  };
  let go = spawnSync("go", ["version"]).status === 0;
  if (!go) absent.go = "go is not installed";
  else go = attempt("go", "sh bench/go/build.sh");
  const peers = existsSync(`${PEERS}/node_modules`) || attempt("peers", `cd ${PEERS} && npm ci --no-audit --no-fund`);
  return { go, peers, absent };
}

export class Party {
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

  /** Starts a fresh process of each. One that does not start is left out, and `guests.absent` says so. */
  static async start(guests: Guests): Promise<Party> {
    const ours = await Contender.start(process.execPath, [WORKER]);
    const maybe = async (who: "go" | "peers", command: string, args: readonly string[], env?: NodeJS.ProcessEnv) => {
      if (!guests[who]) return undefined;
      try {
        return await Contender.start(command, args, env);
      } catch (error) {
        guests.absent[who] = `does not start: ${error}`;
        return undefined;
      }
    };
    return new Party(
      ours,
      await maybe("go", GO, [], { GOMAXPROCS: "1" }),
      await maybe("go", GO, []),
      await maybe("peers", process.execPath, [`${PEERS}/worker.mjs`]),
    );
  }

  /** The contenders of a row, in the order in which they take turns. */
  seats(row: Row): Seat[] {
    const seats: Seat[] = [];
    const side = (who: string) => seats.push({ who, warm: true, ask: (ms) => this.ours.ask(`${row.id} ${who} ${ms}`) });
    side("ours");
    if (row.floor !== undefined) side("floor");
    const id = row.goRow ?? row.id;
    for (const who of ["go1", "goN"] as const) {
      const go = this[who];
      if (go === undefined || !(go.hello.rows as readonly string[]).includes(id)) continue;
      seats.push({ who, warm: false, ask: (ms) => go.ask(`${id} ${ms}`) });
    }
    for (const peer of this.peersOf(row.id)) {
      const { peers } = this;
      if (peers !== undefined) seats.push({ who: peer, warm: true, ask: (ms) => peers.ask(`${row.id} ${peer} ${ms}`) });
    }
    return seats;
  }

  peersOf(id: string): readonly string[] {
    return (this.peers?.hello.rows as Readonly<Record<string, readonly string[]>> | undefined)?.[id] ?? [];
  }

  stop(): void {
    for (const contender of [this.ours, this.go1, this.goN, this.peers]) contender?.stop();
  }
}
