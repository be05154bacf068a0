/**
 * Where code runs: in which async context (AsyncLocalStorage), on which stack; and what becomes of an error that has no
 * caller.
 */
import { builtin, host, realSetTimeout } from "./host.ts";

type Run = <R>(fn: () => R) => R;

/**
 * Runs `fn` in the async context in which the library was loaded. Anything that outlives a request (the host timer, the
 * next turn) is started by this: otherwise it would run in the context of the request that came first, and keep it
 * alive. So load the library at start-up, not inside a request. Where the host has no `AsyncLocalStorage.snapshot` it
 * runs `fn` in the caller's.
 */
export const inRootContext: Run =
  builtin<{ AsyncLocalStorage: { snapshot?(): Run } }>("node:async_hooks")?.AsyncLocalStorage?.snapshot?.() ??
  ((fn) => fn());

/**
 * Registers `fn` as a promise reaction now, and returns the function that triggers it: `fn` then runs in a microtask,
 * in the async context of this call, not of the trigger. An error that it throws is an unhandled rejection.
 */
export function reaction(fn: () => unknown): () => void {
  let trigger!: () => void;
  void new Promise<void>((resolve) => {
    trigger = resolve;
  }).then(fn);
  return trigger;
}

/** A value that code carries along, across its awaits, timers and events. */
export interface AsyncStorage<T> {
  getStore(): T | undefined;
  run<R>(value: T, fn: () => R): R;
  /** Ends it. As long as there is one that has been used and not disabled, the host slows down every promise. */
  disable(): void;
}

/** A new AsyncLocalStorage; undefined where the host has none. */
export function findAsyncStorage<T>(): AsyncStorage<T> | undefined {
  const Storage = builtin<{ AsyncLocalStorage: new () => AsyncStorage<T> }>("node:async_hooks")?.AsyncLocalStorage;
  return Storage === undefined ? undefined : new Storage();
}

/** A new AsyncLocalStorage. Throws an Error that says that `what` needs one where the host has none. */
export function asyncStorage<T>(what: string): AsyncStorage<T> {
  const storage = findAsyncStorage<T>();
  if (storage === undefined) throw new Error(`${what} needs AsyncLocalStorage: Node from 20.16, Bun, or Deno`);
  return storage;
}

/** Reports an error that has no caller to go to: by `reportError` where the host has it, else as an uncaught error. */
export function report(error: unknown): void {
  try {
    if (typeof host.reportError === "function") {
      host.reportError(error);
      return;
    }
  } catch {
    // A reportError that throws reports nothing.
  }
  realSetTimeout(() => {
    throw error;
  }, 0);
}

/** Says an error that concerns nobody's call, as a warning of the process; where there is none, by {@link report}. */
export function warn(error: unknown, what: string): void {
  const warning = error instanceof Error ? error : new Error(`${what}: ${String(error)}`);
  if (typeof host.process?.emitWarning === "function") host.process.emitWarning(warning);
  else report(warning);
}

/** Calls `fn`; an error it throws is reported, and the caller goes on. */
export function guarded(fn: () => void): void {
  try {
    fn();
  } catch (error) {
    report(error);
  }
}
