/** Single flight, beside one that is written with a Map of promises. */
import { context, singleflight } from "gopark";
import { check, type Row } from "./support/row.ts";

const N = 5_000;
const CALLERS = 100;
const DONE = Promise.resolve();
const ctx = context.background();

async function work(): Promise<number> {
  return 1;
}

/** What people write by hand: callers cannot leave, and the work does not learn that nobody waits. */
class BareGroup {
  readonly #running = new Map<string, { promise: Promise<number>; dups: number }>();

  async do(key: string, fn: () => Promise<number>): Promise<{ value: number; shared: boolean }> {
    let call = this.#running.get(key);
    if (call === undefined) {
      call = { promise: this.#run(key, fn), dups: 0 };
      this.#running.set(key, call);
    } else call.dups++;
    const value = await call.promise;
    return { value, shared: call.dups > 0 };
  }

  async #run(key: string, fn: () => Promise<number>): Promise<number> {
    await DONE; // `fn` must not run inside the call.
    try {
      return await fn();
    } finally {
      this.#running.delete(key);
    }
  }
}

interface Group {
  do(key: string, fn: () => Promise<number>): Promise<{ readonly value: number; readonly shared: boolean }>;
}

async function single(group: Group): Promise<void> {
  let n = 0;
  for (let i = 0; i < N; i++) n += (await group.do("key", work)).value;
  check(n, N);
}

async function shared(group: Group): Promise<void> {
  let n = 0;
  for (let i = 0; i < N; i += CALLERS) {
    const calls: Promise<{ readonly value: number; readonly shared: boolean }>[] = [];
    for (let j = 0; j < CALLERS; j++) calls.push(group.do("key", work));
    for (const { value, shared } of await Promise.all(calls)) n += shared ? value : 0;
  }
  check(n, N);
}

/** Each call under a context that ends in time. */
const underContext = (group: singleflight.Group<string, number>): Group => ({
  do: (key, fn) => group.do(key, fn, ctx),
});

export const rows: readonly Row[] = [
  {
    id: "flight.do",
    what: "await do of a singleflight group, with an async function and no other caller: one call",
    ops: N,
    ours: () => single(new singleflight.Group<string, number>()),
    floor: () => single(new BareGroup()),
    floorIs: "a Map of promises, whose callers cannot leave",
    targets: { floor: 1.5 },
  },
  {
    id: "flight.shared",
    what: "100 callers of one key, whose function runs once: one call",
    ops: N,
    ours: () => shared(new singleflight.Group<string, number>()),
    floor: () => shared(new BareGroup()),
    floorIs: "a Map of promises, whose callers cannot leave",
    targets: { floor: 1.5 },
  },
  {
    id: "flight.cancel",
    what: "the same, each call under a context: one call",
    ops: N,
    ours: () => shared(underContext(new singleflight.Group<string, number>())),
    floor: () => shared(new BareGroup()),
    floorIs: "a Map of promises, whose callers cannot leave",
  },
];
