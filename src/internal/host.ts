/**
 * The few globals of the host that the library uses, typed here because the library is compiled with neither DOM nor
 * Node types: what every supported runtime has, and what only some have, marked optional.
 */
interface Host {
  readonly performance: { readonly timeOrigin: number; now(): number };
  readonly setTimeout: (fn: () => void, ms: number) => unknown;
  readonly clearTimeout: (timer: unknown) => void;
  readonly setImmediate?: (fn: () => void) => unknown;
  readonly MessageChannel: new () => { readonly port1: Port; readonly port2: Port };
  readonly Deno?: { refTimer(id: number): void; unrefTimer(id: number): void };
}

interface Port {
  onmessage: (() => void) | null;
  postMessage(message: undefined): void;
}

export const host = globalThis as unknown as Host;
