/** What the errors of all modules share, and the checks of arguments that throw them. */

const BRAND = Symbol.for("gopark.brand");

/**
 * Lets `instanceof cls` recognise the errors that another copy of the package made, by a brand instead of by identity,
 * and sets the `name` of its objects. Call it from the class's static block. A user's subclass keeps the ordinary
 * meaning of `instanceof`.
 */
export function brand(cls: abstract new (...args: never[]) => Error, is: string, name: string = is): void {
  Object.defineProperty(cls.prototype, BRAND, { value: is });
  Object.defineProperty(cls.prototype, "name", { value: name, writable: true, configurable: true });
  Object.defineProperty(cls, Symbol.hasInstance, {
    value(this: unknown, value: unknown): boolean {
      if (this !== cls) return Function.prototype[Symbol.hasInstance].call(this, value);
      return value instanceof Error && (value as { [BRAND]?: unknown })[BRAND] === is;
    },
  });
}

/**
 * Makes an error without a stack: capturing one costs microseconds, too much on a path that rejects under load, and the
 * stack of whoever cancelled says nothing to whoever waited.
 */
export function withoutStack<E extends Error>(make: () => E): E {
  const traces = Error as { stackTraceLimit?: number };
  const limit = traces.stackTraceLimit;
  try {
    traces.stackTraceLimit = 0;
  } catch {
    return make(); // A host with frozen intrinsics: the stack stays, that is all.
  }
  try {
    return make();
  } finally {
    if (limit === undefined) delete traces.stackTraceLimit;
    else traces.stackTraceLimit = limit;
  }
}

/** A value as an error message shows it: short, on one line, never throwing. */
export function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === "function") return `function ${nameOf(value) || "(anonymous)"}`;
  if (typeof value !== "object" || value === null) return String(value);
  return `an object (${nameOf(value, "constructor") || "no constructor"})`;
}

/** The name of a function, or of an object's constructor; undefined where there is none. They may be getters that throw. */
function nameOf(value: object, of?: "constructor"): string | undefined {
  try {
    const named = (of === undefined ? value : (value as { constructor?: unknown })[of]) as
      | { name?: unknown }
      | undefined;
    return typeof named?.name === "string" ? named.name : undefined;
  } catch {
    return undefined;
  }
}

/** Returns n if it is a whole number, at least `least` and exact; throws TypeError or RangeError otherwise. */
export function count(n: number, what: string, least = 0): number {
  if (Number.isSafeInteger(n) && n >= least) return n + 0; // Not -0.
  if (typeof n !== "number") throw new TypeError(`${what} must be a whole number, got ${show(n)}`);
  throw new RangeError(`${what} must be a whole number from ${least} to 2^53-1, got ${n}`);
}

/** Returns ms if it is a number other than NaN; throws TypeError or RangeError otherwise. */
export function duration(ms: number, what: string): number {
  if (typeof ms !== "number") throw new TypeError(`${what} must be a number of milliseconds, got ${show(ms)}`);
  if (Number.isNaN(ms)) throw new RangeError(`${what} must be a number of milliseconds, got NaN`);
  return ms;
}

/** Returns the instant as epoch milliseconds; throws for NaN, an invalid Date and other types. */
export function instant(at: number | Date, what: string): number {
  if (typeof at === "number" && !Number.isNaN(at)) return at; // On hot paths; instanceof is dear.
  const ms = at instanceof Date ? at.getTime() : at;
  if (typeof ms !== "number") throw new TypeError(`${what} must be epoch milliseconds or a Date, got ${show(at)}`);
  if (Number.isNaN(ms)) throw new RangeError(`${what} must be an instant, got ${at instanceof Date ? at : "NaN"}`);
  return ms;
}

/** Returns fn if it can be called; throws TypeError otherwise. */
export function callable<F>(fn: F, what: string): F {
  if (typeof fn === "function") return fn;
  throw new TypeError(`${what} must be a function, got ${show(fn)}`);
}
