/**
 * The globals of the host that TypeScript's `lib` does not declare or that a runtime may lack (these are optional),
 * typed here. And the originals of the globals that fake timers replace.
 */
interface Host {
  readonly performance: Performance;
  readonly setTimeout: (fn: () => void, ms: number) => unknown;
  readonly clearTimeout: (timer: unknown) => void;
  readonly setImmediate?: (fn: () => void) => unknown;
  readonly MessageChannel?: new () => { readonly port1: Port; readonly port2: Port };
  readonly reportError?: (error: unknown) => void;
  readonly crypto: { randomUUID(): string };
  readonly Deno?: { refTimer(id: number): void; unrefTimer(id: number): void };
  readonly process?: {
    getBuiltinModule?(name: string): unknown;
    getActiveResourcesInfo?(): string[];
    emitWarning?(warning: Error): void;
    readonly stdout?: unknown;
    readonly stderr?: unknown;
  };
}

interface Performance {
  readonly timeOrigin: number;
  now(): number;
}

interface Port {
  onmessage: (() => void) | null;
  postMessage(message: undefined): void;
  close(): void;
}

export const host = globalThis as unknown as Host;

// sinon's fake timers, which vitest and jest use, mark what they install with their clock, and keep the originals there
// under the same names with an underscore. So a library that is loaded under them still finds the originals.
const fakes = (host.setTimeout as { readonly clock?: { readonly [name: string]: unknown } }).clock;

function original<K extends "setTimeout" | "clearTimeout" | "setImmediate" | "performance">(name: K): Host[K] {
  return (fakes?.[`_${name}`] as Host[K] | undefined) ?? host[name];
}

/** `setTimeout` as it was when the library was loaded; if that was under sinon's fakes, the one they replaced. */
export const realSetTimeout: Host["setTimeout"] = original("setTimeout");

/** Ends a timer of {@link realSetTimeout}. */
export const realClearTimeout: Host["clearTimeout"] = original("clearTimeout");

/** Lets a timer of {@link realSetTimeout} not keep the process alive, where the host can do that. */
export function realUnref(timer: unknown): void {
  if (typeof timer === "number") host.Deno?.unrefTimer(timer);
  else (timer as { unref?(): void }).unref?.();
}

/** The longest delay of a host's timers, in milliseconds. One that is given more fires at once. */
export const MAX_DELAY: number = 2 ** 31 - 1;

/** The same of `setImmediate`, where the host has one. */
export const realSetImmediate: Host["setImmediate"] = original("setImmediate");

/** The same of `Date`. */
export const realDate: DateConstructor = (fakes?._Date as DateConstructor | undefined) ?? Date;

/** The same of the performance object. */
export const realPerformance: Performance = original("performance");

/** Milliseconds since `realPerformance.timeOrigin`, whatever is mocked. */
export const realNow: () => number = realPerformance.now.bind(realPerformance);

/** Whether `setTimeout` is another function than {@link realSetTimeout}: fake timers, or a wrapper. */
export function timersAreReplaced(): boolean {
  return host.setTimeout !== realSetTimeout;
}

/** The modules of the host that the library uses where they are there. */
type Builtin =
  | "node:async_hooks"
  | "node:diagnostics_channel"
  | "node:events"
  | "node:fs"
  | "node:http"
  | "node:inspector/promises"
  | "node:os"
  | "node:stream";

/** A module of Node, Bun or Deno; undefined where there is none. (A static `import` would be an error there.) */
export function builtin<M>(name: Builtin): Partial<M> | undefined {
  try {
    return host.process?.getBuiltinModule?.(name) as Partial<M> | undefined;
  } catch {
    return undefined;
  }
}
