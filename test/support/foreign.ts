import { Channel } from "gopark/channel";
import type { Context } from "gopark/context";

/** A foreign context. It ends when `end` is called, and counts its listeners. */
export class ForeignContext implements Context {
  readonly signal: AbortSignal = new AbortController().signal;
  readonly listeners = new Set<() => void>();
  readonly #done = new Channel<never>();
  #error: Error | undefined = undefined;

  deadline(): number | undefined {
    return undefined;
  }

  done(): Channel<never> {
    return this.#done;
  }

  err(): Error | undefined {
    return this.#error;
  }

  value(_key: unknown): undefined {}

  afterFunc(fn: () => void): () => boolean {
    this.listeners.add(fn);
    return () => this.listeners.delete(fn);
  }

  end(error: Error): void {
    this.#error = error;
    this.#done.close();
    for (const fn of this.listeners) fn();
  }
}

/** A foreign context with some of its methods replaced. */
export function foreign(methods: Partial<Context> = {}): ForeignContext {
  return Object.assign(new ForeignContext(), methods);
}

/** A signal with some of its methods replaced, and a function that aborts it. */
export function foreignSignal(methods: Partial<AbortSignal> = {}): { signal: AbortSignal; abort(why?: unknown): void } {
  const controller = new AbortController();
  const { signal } = controller;
  Object.assign(signal, methods);
  return { signal, abort: (why) => controller.abort(why) };
}

/**
 * The object seen through something that calls `touched` for each property that is read or looked for, and for each
 * call of one of its functions. Its functions still run on the object itself.
 */
export function observed<T extends object>(target: T, touched: (what: string) => void): T {
  return new Proxy(target, {
    get(_, property) {
      touched(`get ${String(property)}`);
      const value: unknown = Reflect.get(target, property);
      if (typeof value !== "function") return value;
      return (...args: unknown[]) => {
        touched(`call ${String(property)}`);
        return value.apply(target, args);
      };
    },
    has(_, property) {
      touched(`has ${String(property)}`);
      return Reflect.has(target, property);
    },
  });
}
