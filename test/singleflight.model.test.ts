/** Single flight: random programs of calls, forgets, ends and cancels against a list of runs. */
import { background, type CancelScope, type Context, contextKey, withCancel, withValue } from "gopark/context";
import { counters, track } from "gopark/leak";
import { Group } from "gopark/singleflight";
import { beforeAll, expect, test } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { turn } from "./support/turn.ts";

// Thousands of waits: counted is enough, a stack for each would take most of the time.
beforeAll(() => track("counters"));

const KEYS: readonly unknown[] = ["a", 1, "1", Number.NaN, 0];
const OWNER = contextKey<number>("owner");

/** A call, and what can end it: the scope of that number, or the context of the run -1 - number. */
interface Caller {
  readonly id: number;
  readonly scope: number | undefined;
}

/** One run of work, in the reference. */
interface Run {
  readonly id: number;
  readonly key: unknown;
  /** The value that its context has. */
  readonly owner: number | undefined;
  readonly callers: Set<Caller>;
  /** The work's own calls of its key, under its context. */
  readonly own: Set<number>;
  joined: number;
  /** Whether the next caller of the key joins it. */
  current: boolean;
  begun: boolean;
  cancelled: boolean;
}

/** The reference: every event is a line of the log. */
class Model {
  runs: Run[] = [];
  readonly log: string[] = [];

  do(caller: Caller, key: unknown, owner: number | undefined): void {
    const run = this.find(key) ?? this.start(caller.id, key, owner);
    run.joined++;
    run.callers.add(caller);
  }

  /** The work of `by` does a key under its own context. */
  doUnder(by: Run, id: number, key: unknown): void {
    if (this.find(key) === by) {
      by.joined++;
      by.own.add(id);
    } else this.do({ id, scope: -1 - by.id }, key, by.owner);
  }

  forget(key: unknown): void {
    const run = this.find(key);
    if (run !== undefined) run.current = false;
  }

  /** A turn of the event loop: the work of the calls begins. */
  turn(): void {
    this.runs = this.runs.filter((run) => run.begun || !run.cancelled);
    for (const run of this.runs) {
      if (!run.begun) this.log.push(`begin ${run.id} for ${run.owner}`);
      run.begun = true;
    }
  }

  end(run: Run, result: number | undefined): void {
    this.runs = this.runs.filter((each) => each !== run);
    const answer = result === undefined ? "failed" : `${result}, ${run.joined > 1}`;
    for (const { id } of run.callers) this.log.push(`do ${id}: ${answer}`);
    for (const id of run.own) this.log.push(`do ${id}: ${answer}`);
  }

  cancel(scope: number): void {
    for (const run of this.runs) {
      const leaving = [...run.callers].filter((caller) => caller.scope === scope);
      for (const caller of leaving) {
        run.callers.delete(caller);
        this.log.push(`do ${caller.id}: canceled`);
      }
      if (leaving.length === 0 || run.callers.size > 0) continue;
      run.current = false;
      run.cancelled = true;
      if (!run.begun) continue;
      this.log.push(`cancel ${run.id}`);
      for (const id of run.own) this.log.push(`do ${id}: canceled`);
      run.own.clear();
      this.cancel(-1 - run.id);
    }
  }

  counts(): unknown {
    const waiting = this.runs.reduce((sum, { callers, own }) => sum + callers.size + own.size, 0);
    return { waiting, running: this.runs.length };
  }

  private find(key: unknown): Run | undefined {
    return this.runs.find((run) => run.current && Object.is(run.key, key));
  }

  private start(id: number, key: unknown, owner: number | undefined): Run {
    const begun = { current: true, begun: false, cancelled: false };
    const run: Run = { id, key, owner, callers: new Set(), own: new Set(), joined: 0, ...begun };
    this.runs.push(run);
    return run;
  }
}

function counts(): unknown {
  const { "singleflight do": waiting, "singleflight work": running } = counters();
  return { waiting, running };
}

/** Work that has begun. */
interface Gate {
  readonly ctx: Context;
  open(result: number | undefined): void;
}

class Program {
  readonly #rnd: Random;
  readonly #model = new Model();
  readonly #group = new Group<unknown, number>();
  readonly #gates = new Map<number, Gate>();
  readonly #scopes: CancelScope[] = [0, 1, 2].map(scopeOf);
  readonly #log: string[] = [];
  #ids = 0;

  constructor(rnd: Random) {
    this.#rnd = rnd;
  }

  #call(id: number, key: unknown, cancel: Context | undefined): void {
    const work = async (ctx: Context): Promise<number> => {
      this.#log.push(`begin ${id} for ${ctx.value(OWNER)}`);
      ctx.signal.addEventListener("abort", () => this.#log.push(`cancel ${id}`));
      const result = await new Promise<number | undefined>((open) => this.#gates.set(id, { ctx, open }));
      if (result === undefined) throw new Error("failed");
      return result;
    };
    this.#group.do(key, work, this.#rnd.bool(0.5) ? cancel : cancel?.signal).then(
      ({ value, shared }) => this.#log.push(`do ${id}: ${value}, ${shared}`),
      (error: Error) => this.#log.push(`do ${id}: ${error.message === "failed" ? "failed" : "canceled"}`),
    );
  }

  #do(): void {
    const id = this.#ids++;
    const key = this.#rnd.pick(KEYS);
    const scope = this.#rnd.bool(0.8) ? this.#rnd.int(0, 2) : undefined;
    this.#model.do({ id, scope }, key, scope);
    this.#call(id, key, scope === undefined ? undefined : this.#scopes[scope]?.ctx);
  }

  /** A call under the context of work that runs, or under one derived from it. */
  #doUnder(): void {
    const running = this.#model.runs.filter((run) => run.begun && !run.cancelled);
    if (running.length === 0) return;
    const by = this.#rnd.pick(running);
    const id = this.#ids++;
    const key = this.#rnd.bool(0.5) ? by.key : this.#rnd.pick(KEYS);
    this.#model.doUnder(by, id, key);
    const { ctx } = this.#gates.get(by.id) as Gate;
    this.#call(id, key, this.#rnd.bool(0.5) ? ctx : withValue(ctx, "any", 1));
  }

  #cancel(which: number): void {
    this.#model.cancel(which);
    this.#scopes[which]?.cancel();
    this.#scopes[which] = scopeOf(which);
  }

  #forget(): void {
    const key = this.#rnd.pick(KEYS);
    this.#model.forget(key);
    this.#group.forget(key);
  }

  /** Ends work that has begun, cancelled or not. */
  #end(result: number | undefined): void {
    const [id, { open }] = this.#rnd.pick([...this.#gates]);
    this.#gates.delete(id);
    this.#model.end(this.#model.runs.find((run) => run.id === id) as Run, result);
    open(result);
  }

  async #compare(): Promise<void> {
    this.#model.turn();
    await turn();
    expect(this.#log.splice(0).sort()).toEqual(this.#model.log.splice(0).sort());
    expect(counts()).toEqual(this.#model.counts());
  }

  async run(): Promise<void> {
    const rnd = this.#rnd;
    for (let round = 0; round < 80; round++) {
      // In one turn: all but an end takes effect at once.
      for (let steps = rnd.int(1, 4); steps > 0; steps--) {
        const what = rnd.int(0, 9);
        if (what < 5) this.#do();
        else if (what < 7) this.#doUnder();
        else if (what < 9) this.#cancel(rnd.int(0, 2));
        else this.#forget();
      }
      await this.#compare();
      if (rnd.bool(0.6) && this.#gates.size > 0) {
        this.#end(rnd.bool(0.3) ? undefined : rnd.int(10, 99));
        await this.#compare();
      }
    }
    while (this.#gates.size > 0) {
      this.#end(rnd.int(10, 99));
      await this.#compare();
    }
    for (const { cancel } of this.#scopes) cancel();
    expect(counts()).toEqual({ waiting: 0, running: 0 });
  }
}

/** A scope whose context has its number as a value. */
function scopeOf(number: number): CancelScope {
  return withCancel(withValue(background(), OWNER, number));
}

test.each(seeds(100))("a random program ends as the model does, SEED=%d", (seed) => new Program(random(seed)).run());
