/**
 * Every kind that is counted: its name, which dashboards use, its class, and the public functions that make one, which
 * is where a stack begins when the library and its caller are bundled into one file.
 */
import "gopark";
import "gopark/http";
import "gopark/pprof";
import "gopark/redis";
import { expect, test } from "vitest";
import { MUTEX_KINDS } from "../src/internal/pprof/blocking.ts";
import { allKinds } from "../src/internal/track/tracker.ts";

const LOCKING = [
  "wait", // Cond's, which retakes its lock.
  ...["withLock", "guard", "lock", "tryLock"], // Mutex
  ...["withLock", "guard", "lock", "tryLock", "withRLock", "rGuard", "rLock", "tryRLock"], // RWMutex
  ...["lock", "withLock", "guard", "lock", "tryLock"], // KeyedMutex, and what its `of` returns
];
const SEMAPHORE = ["withPermit", "permit", "tryPermit", "acquire", "tryAcquire"];
const STAGE = ["next", "return", "throw"];

const KINDS: Record<string, [kindClass: string, entryPoints: string[]]> = {
  task: ["task", []], // `go` and the group name their own.
  "proved leak": ["wait", []],
  "chan receive": ["wait", ["receive", "next", "[gopark.nextUntil]", "receive"]],
  "chan send": ["wait", ["send"]],
  context: ["resource", []], // As the constructors name their own.
  "iterator next": ["wait", []],
  "errgroup go": ["wait", ["go", "tryGo"]],
  "errgroup wait": ["wait", ["wait"]],
  "pipeline stage": ["task", STAGE],
  "pipeline next": ["wait", STAGE],
  "pipeline room": ["wait", STAGE],
  "pipeline end": ["wait", STAGE],
  "pool object": ["resource", ["use", "lease", "get"]],
  "rate wait": ["wait", ["wait", "wait"]],
  "redis limiter call": ["wait", ["allow", "reserve", "wait"]],
  "redis limiter wait": ["wait", ["allow", "reserve", "wait"]],
  "redis permit": ["wait", ["withPermit", "permit", "tryPermit"]],
  "redis semaphore unit": ["resource", ["withPermit", "permit", "tryPermit"]],
  "redis lock": ["wait", ["withLock", "lock", "tryLock"]],
  "redis held lock": ["resource", ["withLock", "lock", "tryLock"]],
  sleep: ["wait", ["sleep"]],
  timer: ["resource", ["Timer", "reset", "afterFunc", "reset"]],
  ticker: ["resource", ["Ticker", "reset"]],
  select: ["wait", ["select"]],
  "select (no cases)": ["wait", ["select"]],
  "semaphore acquire": ["wait", SEMAPHORE],
  "semaphore permit": ["wait", SEMAPHORE],
  "semaphore unit": ["resource", SEMAPHORE],
  "shardmap update": ["wait", ["update"]],
  "shardmap updater": ["task", ["update"]],
  "shardmap load": ["wait", ["getOrLoad"]],
  "shardmap loader": ["task", ["getOrLoad"]],
  "singleflight do": ["wait", ["do"]],
  "singleflight work": ["task", ["do"]],
  "held lock": ["resource", LOCKING],
  "mutex lock": ["wait", LOCKING],
  "rwmutex lock": ["wait", LOCKING],
  "rwmutex rLock": ["wait", LOCKING],
  "keyedmutex lock": ["wait", LOCKING],
  "waitgroup wait": ["wait", ["wait"]],
  "once do": ["wait", ["do"]],
  "once function": ["task", ["do"]],
  "cond wait": ["wait", ["wait"]],
  "http close": ["wait", []],
  "http probe": ["wait", []],
  "pprof recording": ["wait", []],
  "workers submit": ["wait", ["submit", "trySubmit"]],
  "workers idle": ["wait", ["idle"]],
  "workers release": ["wait", ["release"]],
};

test("the profile of locks and semaphores has all waits for them", () => {
  const isOfLock = (name: string) => / (lock|rLock|acquire|permit)$/.test(name);
  const waits = allKinds().filter((kind) => kind.class === "wait" && isOfLock(kind.name));
  expect(waits.map(({ name }) => name).sort()).toEqual([...MUTEX_KINDS].sort());
});

test("every kind has its name, its class and its entry points", () => {
  const kinds = allKinds().map((kind) => [kind.name, [kind.class, kind.entryPoints().map((entry) => entry.name)]]);
  expect(Object.fromEntries(kinds)).toEqual(KINDS);
  expect(kinds).toHaveLength(Object.keys(KINDS).length);
});
