/** Sharded map: random programs of updates, loads, writes and cancels against queues and loads in plain arrays. */
import { background, type CancelScope, withCancel } from "gopark/context";
import { counters, track } from "gopark/leak";
import { ShardMap } from "gopark/shardmap";
import { beforeAll, expect, test } from "vitest";
import { type Random, random, seeds } from "./support/random.ts";
import { turn } from "./support/turn.ts";

// Thousands of waits: counted is enough, a stack for each would take most of the time.
beforeAll(() => track("counters"));

const KEYS = ["a", "b", 1, "1"] as const;
type Key = (typeof KEYS)[number];

/** A waiting call, and the context that can end it. */
interface Caller {
  id: number;
  ctx: number | undefined;
}

interface Line {
  running: number;
  queue: Caller[];
}

interface Load {
  id: number;
  key: Key;
  callers: Caller[];
  /** Whether its result will be stored. */
  fresh: boolean;
}

/** The reference: every event is a line of the log. */
class Model {
  readonly values = new Map<Key, number>();
  readonly lines = new Map<Key, Line>();
  loads: Load[] = [];
  readonly log: string[] = [];

  update(caller: Caller, key: Key): void {
    const line = this.lines.get(key);
    if (line !== undefined) {
      line.queue.push(caller);
      return;
    }
    this.lines.set(key, { running: caller.id, queue: [] });
    this.begin(caller.id, key);
  }

  endUpdate(key: Key, result: number | undefined): void {
    const line = this.lines.get(key) as Line;
    this.log.push(`update ${line.running}: ${result}`);
    if (result !== undefined) this.set(key, result);
    const next = line.queue.shift();
    if (next === undefined) {
      this.lines.delete(key);
    } else {
      line.running = next.id;
      this.begin(next.id, key);
    }
  }

  getOrLoad(caller: Caller, key: Key): void {
    if (this.values.has(key)) {
      this.log.push(`load ${caller.id}: ${this.values.get(key)}`);
      return;
    }
    const load = this.loads.find((each) => each.key === key && each.fresh);
    if (load === undefined) {
      this.loads.push({ id: caller.id, key, callers: [caller], fresh: true });
      this.log.push(`begin load ${caller.id} of ${typeof key} ${key}`);
    } else load.callers.push(caller);
  }

  endLoad(load: Load, result: number | undefined): void {
    this.loads = this.loads.filter((each) => each !== load);
    if (load.fresh && result !== undefined) this.values.set(load.key, result);
    for (const { id } of load.callers) this.log.push(`load ${id}: ${result}`);
  }

  set(key: Key, value: number): void {
    this.values.set(key, value);
    this.outdate(key);
  }

  delete(key: Key): boolean {
    this.outdate(key);
    return this.values.delete(key);
  }

  clear(): void {
    this.values.clear();
    for (const load of this.loads) load.fresh = false;
  }

  cancel(ctx: number): void {
    for (const line of this.lines.values()) {
      for (const { id } of line.queue.filter((caller) => caller.ctx === ctx)) this.log.push(`update ${id}: cancelled`);
      line.queue = line.queue.filter((caller) => caller.ctx !== ctx);
    }
    for (const load of this.loads) {
      if (load.callers.length === 0) continue;
      for (const { id } of load.callers.filter((caller) => caller.ctx === ctx)) this.log.push(`load ${id}: cancelled`);
      load.callers = load.callers.filter((caller) => caller.ctx !== ctx);
      if (load.callers.length > 0) continue;
      load.fresh = false;
      this.log.push(`abort load ${load.id}`);
    }
  }

  counts(): unknown {
    const queued = [...this.lines.values()].reduce((sum, { queue }) => sum + queue.length, 0);
    const waiting = this.loads.reduce((sum, { callers }) => sum + callers.length, 0);
    return { queued, waiting, loading: this.loads.length };
  }

  private outdate(key: Key): void {
    for (const load of this.loads) if (load.key === key) load.fresh = false;
  }

  private begin(id: number, key: Key): void {
    this.log.push(`begin update ${id} with ${this.values.get(key)}, ${this.values.has(key)}`);
  }
}

function counts(): unknown {
  const { "shardmap update": queued, "shardmap load": waiting, "shardmap loader": loading } = counters();
  return { queued, waiting, loading };
}

class Program {
  readonly #rnd: Random;
  readonly #model = new Model();
  readonly #map = new ShardMap<Key, number>();
  readonly #gates = new Map<number, (result: number | undefined) => void>();
  readonly #scopes: CancelScope[] = Array.from({ length: 3 }, () => withCancel(background()));
  readonly #log: string[] = [];
  #ids = 0;

  constructor(rnd: Random) {
    this.#rnd = rnd;
  }

  /** The result of an update's function or of a loader when the program opens its gate. */
  async #gate(id: number): Promise<number> {
    const result = await new Promise<number | undefined>((open) => this.#gates.set(id, open));
    if (result === undefined) throw new Error("failed");
    return result;
  }

  #note(what: string, promise: Promise<number>): void {
    promise.then(
      (value) => this.#log.push(`${what}: ${value}`),
      (error: Error) => this.#log.push(`${what}: ${error.message === "failed" ? undefined : "cancelled"}`),
    );
  }

  #caller(): [Caller, CancelScope | undefined] {
    const ctx = this.#rnd.bool(0.8) ? this.#rnd.int(0, 2) : undefined;
    return [{ id: this.#ids++, ctx }, ctx === undefined ? undefined : this.#scopes[ctx]];
  }

  #update(key: Key): void {
    const [caller, scope] = this.#caller();
    const { id } = caller;
    this.#model.update(caller, key);
    const fn = (value: number | undefined, ok: boolean) => {
      this.#log.push(`begin update ${id} with ${value}, ${ok}`);
      return this.#gate(id);
    };
    this.#note(`update ${id}`, this.#map.update(key, fn, this.#rnd.bool(0.5) ? scope?.ctx : scope?.ctx.signal));
  }

  #getOrLoad(key: Key): void {
    const [caller, scope] = this.#caller();
    const { id } = caller;
    this.#model.getOrLoad(caller, key);
    const load = (key: Key, signal: AbortSignal) => {
      this.#log.push(`begin load ${id} of ${typeof key} ${key}`);
      signal.addEventListener("abort", () => this.#log.push(`abort load ${id}`));
      return this.#gate(id);
    };
    this.#note(`load ${id}`, this.#map.getOrLoad(key, load, this.#rnd.bool(0.5) ? scope?.ctx : scope?.ctx.signal));
  }

  #cancel(which: number): void {
    this.#model.cancel(which);
    this.#scopes[which]?.cancel();
    this.#scopes[which] = withCancel(background());
  }

  /** A write, which is over when it returns. */
  #write(key: Key): void {
    const value = this.#rnd.int(0, 9);
    const model = this.#model;
    const loaded = model.values.has(key);
    const before = model.values.get(key);
    switch (this.#rnd.int(0, 6)) {
      case 0:
        model.set(key, value);
        this.#map.set(key, value);
        break;
      case 1:
      case 2:
        expect(this.#map.delete(key)).toBe(model.delete(key));
        break;
      case 3:
        expect(this.#map.swap(key, value)).toEqual({ value: before, loaded });
        model.set(key, value);
        break;
      case 4:
        expect(this.#map.compareAndSwap(key, before ?? 0, value)).toBe(loaded);
        if (loaded) model.set(key, value);
        break;
      case 5:
        expect(this.#map.loadOrStore(key, value)).toEqual({ value: before ?? value, loaded });
        if (!loaded) model.set(key, value);
        break;
      case 6:
        if (!this.#rnd.bool(0.3)) break;
        model.clear();
        this.#map.clear();
        break;
    }
  }

  /** Ends an update's function or a load that has begun. */
  #end(result: number | undefined): void {
    const [id, open] = this.#rnd.pick([...this.#gates]);
    this.#gates.delete(id);
    const load = this.#model.loads.find((each) => each.id === id);
    const line = [...this.#model.lines].find(([, { running }]) => running === id);
    if (load !== undefined) this.#model.endLoad(load, result);
    else if (line !== undefined) this.#model.endUpdate(line[0], result);
    else expect.unreachable(`${id} has begun, and should not have`);
    open(result);
  }

  async #compare(): Promise<void> {
    await turn();
    expect(this.#log.splice(0).sort()).toEqual(this.#model.log.splice(0).sort());
    expect(new Map(this.#map)).toEqual(this.#model.values);
    expect(counts()).toEqual(this.#model.counts());
  }

  async run(): Promise<void> {
    const rnd = this.#rnd;
    for (let round = 0; round < 60; round++) {
      const key = rnd.pick(KEYS);
      switch (rnd.int(0, 8)) {
        case 0:
        case 1:
          this.#update(key);
          break;
        case 2:
          this.#getOrLoad(key);
          break;
        case 3:
          this.#write(key);
          break;
        case 4:
          this.#cancel(rnd.int(0, 2));
          break;
        case 5:
        case 6:
          if (this.#gates.size > 0) this.#end(rnd.bool(0.3) ? undefined : rnd.int(10, 99));
          break;
        case 7:
          // In one turn: cancels take effect at once, and so do writes and calls after them.
          if (rnd.bool(0.5)) this.#cancel(rnd.int(0, 2));
          for (let calls = rnd.int(1, 4); calls > 0; calls--) {
            if (rnd.bool(0.5)) this.#write(rnd.pick(KEYS));
            else this.#getOrLoad(rnd.pick(KEYS));
          }
          break;
        case 8:
          for (let calls = rnd.int(1, 3); calls > 0; calls--) this.#update(key);
          break;
      }
      await this.#compare();
    }
    while (this.#gates.size > 0) {
      this.#end(rnd.int(10, 99));
      await this.#compare();
    }
    for (const { cancel } of this.#scopes) cancel();
    expect(counts()).toEqual({ queued: 0, waiting: 0, loading: 0 });
  }
}

test.each(seeds(100))("a random program ends as the model does, SEED=%d", (seed) => new Program(random(seed)).run());
