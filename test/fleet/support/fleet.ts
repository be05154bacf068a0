/** Processes of a fleet, and what their lines say. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const MEMBER = fileURLToPath(new URL("member.mjs", import.meta.url));

export interface Line {
  readonly what: string;
  /** In nanoseconds, by the clock that all processes of the machine share. */
  readonly at: bigint;
  readonly n: number;
}

export class Member {
  readonly lines: string[] = [];
  readonly child: ChildProcess;
  readonly ended: Promise<unknown>;
  #killedAt: bigint | undefined = undefined;
  readonly #watchers: (() => void)[] = [];

  constructor(job: object) {
    this.child = spawn(process.execPath, [MEMBER, JSON.stringify(job)], { stdio: ["pipe", "pipe", "inherit"] });
    const lines = createInterface({ input: this.child.stdout as NodeJS.ReadableStream });
    const tell = () => {
      for (const watcher of this.#watchers.splice(0)) watcher();
    };
    lines.on("line", (line) => {
      this.lines.push(line);
      tell();
    });
    this.ended = Promise.all([once(this.child, "exit"), once(lines, "close")]).finally(tell);
  }

  /** Waits until one of its lines begins with this. */
  async says(beginning: string, times = 1): Promise<string> {
    for (;;) {
      const found = this.lines.filter((line) => line.startsWith(beginning));
      if (found.length >= times) return found[times - 1] as string;
      if (this.child.exitCode !== null) throw new Error(`exited without "${beginning}":\n${this.lines.join("\n")}`);
      await new Promise<void>((resolve) => {
        this.#watchers.push(resolve);
      });
    }
  }

  async kill(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
    this.#killedAt = process.hrtime.bigint();
  }

  get exitCode(): number | null {
    return this.child.exitCode;
  }

  events(): Line[] {
    return this.lines.flatMap((line) => {
      const match = /^(\S+) (\d+) (\d+)$/.exec(line);
      return match === null ? [] : [{ what: match[1] as string, at: BigInt(match[2] as string), n: Number(match[3]) }];
    });
  }

  /** When it held how many units: until it was killed, if it did not give them back. */
  holds(): { from: bigint; to: bigint; n: number }[] {
    const events = this.events();
    return events.flatMap((event, i) => {
      if (event.what !== "+") return [];
      const end = events.slice(i + 1).find(({ what }) => what === "-");
      return [{ from: event.at, to: end?.at ?? this.#killedAt ?? process.hrtime.bigint(), n: event.n }];
    });
  }
}

/** The most units that were held at one time by all. */
export function mostHeld(members: readonly Member[]): number {
  const changes = members.flatMap((member) =>
    member.holds().flatMap(({ from, to, n }) => [
      { at: from, n },
      { at: to, n: -n },
    ]),
  );
  // At one instant, ends come first.
  changes.sort((a, b) => (a.at === b.at ? a.n - b.n : a.at < b.at ? -1 : 1));
  let held = 0;
  let most = 0;
  for (const { n } of changes) {
    held += n;
    most = Math.max(most, held);
  }
  return most;
}
