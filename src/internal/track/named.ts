/**
 * Things that a program gave a name, for metrics: semaphores, limiters, breakers, pools, workers, callers of HTTP,
 * links to Redis.
 *
 * They are held weakly: a thing that the program has dropped is one no longer once the collector has taken it. Several
 * may have one name.
 */
import type { CircuitBreaker } from "../../breaker.ts";
import type { Pool } from "../../pool.ts";
import type { KeyedLimiter, Limiter } from "../../rate.ts";
import type { Weighted } from "../../semaphore.ts";
import type { Workers } from "../../workers.ts";
import { validName } from "../data/args.ts";
import type { Gate } from "../http/gate.ts";
import type { Link } from "../redis/link.ts";

/** What is read of the things of each family. Nothing of it changes anything. */
export interface Families {
  semaphore: Pick<Weighted, "size" | "held" | "waiting">;
  limiter: Pick<Limiter, "limit" | "burst" | "tokens">;
  keyedLimiter: Pick<KeyedLimiter, "limit" | "burst" | "keys">;
  breaker: Pick<CircuitBreaker, "counts"> & { peekState(): ReturnType<CircuitBreaker["state"]> };
  pool: Pick<Pool<object>, "idle" | "out">;
  workers: Pick<Workers, "running" | "waiting" | "free">;
  httpCalls: Pick<Gate, "running" | "waiting" | "hostsDown">;
  redisLink: Pick<Link, "available">;
}

export type Family = keyof Families;

interface Entry {
  readonly family: Family;
  readonly name: string;
  readonly thing: WeakRef<object>;
}

/** What links of one name have done in all. */
export interface LinkTotals {
  calls: number;
  failures: number;
}

// Kept when the links are gone: what only grows must not fall.
const linkTotals = new Map<string, LinkTotals>();

/** The totals of a name, to be added to. Of no name: those of nobody else. */
export function totalsOf(name: string | undefined): LinkTotals {
  const known = linkTotals.get(name ?? "");
  if (known !== undefined) return known;
  const totals = { calls: 0, failures: 0 };
  if (name) linkTotals.set(name, totals);
  return totals;
}

/** The totals of all names. */
export function allLinkTotals(): Iterable<[name: string, totals: Readonly<LinkTotals>]> {
  return linkTotals;
}

// In the order in which they were made.
const entries = new Set<Entry>();

const registry = new FinalizationRegistry<Entry>((entry) => entries.delete(entry));

/**
 * Gives a thing a name; none if that is undefined or empty. Throws as {@link validName} does; `what` is the argument in
 * its messages. To be called last in a constructor.
 */
export function giveName<F extends Family>(
  family: F,
  thing: Families[F],
  name: string | undefined,
  what: string,
): void {
  if (name === undefined || validName(name, what) === "") return;
  const entry: Entry = { family, name, thing: new WeakRef(thing) };
  entries.add(entry);
  registry.register(thing, entry);
}

/** The things of a family that have names, oldest first. */
export function namedOf<F extends Family>(family: F): [name: string, thing: Families[F]][] {
  const found: [string, Families[F]][] = [];
  for (const { family: its, name, thing } of entries) {
    const alive = its === family ? thing.deref() : undefined;
    if (alive !== undefined) found.push([name, alive as Families[F]]);
  }
  return found;
}
