/** A contender: a process that answers each line of input with a line of JSON. */
import { type ChildProcess, spawn } from "node:child_process";
import { createInterface } from "node:readline";

/** The first line of a contender; each kind has fields of its own. */
export interface Hello {
  readonly contender: string;
  readonly node?: string;
  readonly version?: string;
  readonly maxprocs?: number;
  readonly versions?: Readonly<Record<string, string>>;
  /** Its rows; for the peers, the packages that have each row. */
  readonly rows: readonly string[] | Readonly<Record<string, readonly string[]>>;
  /** The error because of which it has no rows. */
  readonly error?: string;
}

export interface Answer {
  readonly row?: string;
  readonly ns?: number;
  readonly bytes?: number;
  /** Processor time and wall time of one operation, in nanoseconds. */
  readonly cpu?: number;
  readonly wall?: number;
  readonly calls?: number;
  readonly error?: string;
}

/** A contender that takes longer for an answer is killed. */
const ANSWER_TIMEOUT_MS = 60_000;

export class Contender {
  readonly hello: Hello;
  private readonly child: ChildProcess;
  private readonly lines: AsyncIterator<string>;

  private constructor(child: ChildProcess, lines: AsyncIterator<string>, hello: Hello) {
    this.child = child;
    this.lines = lines;
    this.hello = hello;
  }

  /** Starts the process and waits for its first line. Rejects if there is none. */
  static async start(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Contender> {
    const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "inherit"] });
    // A process that cannot be started, or has died, is noticed by the end of its output.
    child.on("error", () => {});
    child.stdin.on("error", () => {});
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    return new Contender(child, lines, JSON.parse(await nextLine(child, lines)) as Hello);
  }

  /** Sends one line and resolves to the answer, which has `error` if the process has ended or does not answer. */
  async ask(line: string): Promise<Answer> {
    try {
      this.child.stdin?.write(`${line}\n`);
      return JSON.parse(await nextLine(this.child, this.lines)) as Answer;
    } catch (error) {
      return { error: String(error) };
    }
  }

  stop(): void {
    this.child.kill("SIGKILL");
  }
}

async function nextLine(child: ChildProcess, lines: AsyncIterator<string>): Promise<string> {
  const timeout = setTimeout(() => child.kill("SIGKILL"), ANSWER_TIMEOUT_MS);
  try {
    const { value, done } = await lines.next();
    if (done) throw new Error("the process has ended");
    return value;
  } finally {
    clearTimeout(timeout);
  }
}
