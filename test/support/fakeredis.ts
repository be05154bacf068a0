/**
 * A client of Redis without a server: the test answers each call, by hand or by `script`. It shows what a link asks and
 * does with the answers; what the scripts do on a server, `npm run redis` tests.
 */
import { now } from "gopark/time";
import { ACQUIRE, EPOCH, GIVE_BACK, RELEASE, RENEW, type Script, TAKE } from "../../src/internal/redis/scripts.ts";

const SCRIPTS: Record<string, Script> = {
  take: TAKE,
  giveBack: GIVE_BACK,
  acquire: ACQUIRE,
  renew: RENEW,
  release: RELEASE,
};

/** The server's clock, in microseconds since 2025. */
export function serverTime(): number {
  return Math.round((now() - EPOCH) * 1000);
}

export class FakeCall {
  readonly name: string;
  readonly by: "hash" | "text";
  readonly key: string;
  readonly keys: readonly string[];
  /** Until when the call may be executed, in microseconds since 2025. */
  readonly notAfter: number;
  /** Those after the clock and `notAfter`. */
  readonly args: readonly string[];
  readonly promise: Promise<unknown>;
  #resolve!: (answer: unknown) => void;
  #reject!: (error: unknown) => void;

  constructor(by: FakeCall["by"], text: string, keys: readonly string[], args: readonly string[]) {
    const found = Object.entries(SCRIPTS).find(([, script]) => text === (by === "hash" ? script.sha : script.text));
    this.name = found?.[0] ?? "unknown";
    this.by = by;
    this.keys = keys;
    this.key = keys[0] ?? "";
    this.notAfter = Number(args[1]);
    this.args = args.slice(2);
    this.promise = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  /** Executes it now: answers with the server's time and these numbers, or as too late. */
  answer(...numbers: number[]): void {
    const time = serverTime();
    this.#resolve(time > this.notAfter ? [time] : [time, ...numbers]);
  }

  /** Answers with anything. */
  answerWith(reply: unknown): void {
    this.#resolve(reply);
  }

  fail(error: unknown): void {
    this.#reject(error);
  }
}

export class FakeRedis {
  /** The calls in their order, those that were executed too late among them. */
  readonly calls: FakeCall[] = [];

  /** Answers at once, where it is set and returns numbers or throws. */
  script: ((call: FakeCall) => readonly number[] | undefined) | undefined = undefined;

  readonly #listeners = new Set<(channel: string, message: string) => void>();
  channel = "";
  unsubscribed = "";
  /** What a subscription waits for. */
  subscription: Promise<unknown> = Promise.resolve();

  evalsha(sha: string, keyCount: number, ...rest: string[]): Promise<unknown> {
    return this.#call("hash", sha, rest.slice(0, keyCount), rest.slice(keyCount));
  }

  eval(text: string, keyCount: number, ...rest: string[]): Promise<unknown> {
    return this.#call("text", text, rest.slice(0, keyCount), rest.slice(keyCount));
  }

  #call(by: FakeCall["by"], text: string, keys: string[], args: string[]): Promise<unknown> {
    const call = new FakeCall(by, text, keys, args);
    this.calls.push(call);
    // The clock is not known to the link yet.
    if (call.notAfter < -1e299) call.answer();
    else {
      try {
        const numbers = this.script?.(call);
        if (numbers !== undefined) call.answer(...numbers);
      } catch (error) {
        call.fail(error);
      }
    }
    return call.promise;
  }

  /** The last call; it must be of this script. */
  last(name: string): FakeCall {
    const call = this.calls.at(-1);
    if (call?.name !== name) throw new Error(`the last call is ${call?.name}, not ${name}`);
    return call;
  }

  /** The names of all calls. */
  names(): string[] {
    return this.calls.map(({ name }) => name);
  }

  async subscribe(channel: string): Promise<void> {
    await this.subscription;
    this.channel = channel;
  }

  async unsubscribe(channel: string): Promise<void> {
    this.unsubscribed = channel;
  }

  on(_: "message", listener: (channel: string, message: string) => void): void {
    this.#listeners.add(listener);
  }

  off(_: "message", listener: (channel: string, message: string) => void): void {
    this.#listeners.delete(listener);
  }

  /** How many listeners there are for messages. */
  get listeners(): number {
    return this.#listeners.size;
  }

  /** A message as the server sends one, of a grant that ends in `lease` milliseconds. */
  tell(id: string, fence: number, lease: number, channel: string = this.channel): void {
    for (const listener of this.#listeners) listener(channel, `${id}|${fence}|${serverTime() + lease * 1000}`);
  }
}
