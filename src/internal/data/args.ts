/**
 * The checks of arguments. Each returns the checked value, or throws an error that says what was given. An `async`
 * function lets it throw; any other that returns a promise rejects by `rejectedByCheck(() => wholeNumber(n, "units"))`.
 */

/** A value as an error message shows it: on one line, at most 40 characters of it, never throwing. */
export function show(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (typeof value === "function") return `function ${clipped(nameOf(value) || "(anonymous)")}`;
  if (typeof value !== "object" || value === null) return clipped(String(value));
  return `an object (${clipped(nameOf(value, "constructor") || "no constructor")})`;
}

function clipped(text: string): string {
  const line = text.replaceAll(/\s+/g, " ");
  return line.length > 40 ? `${line.slice(0, 40)}…` : line;
}

/**
 * The name of a function, or of an object's constructor; undefined where there is none. They may be getters that throw.
 */
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

/** Returns n if it is a safe integer and at least `least`; throws TypeError or RangeError otherwise. */
export function wholeNumber(n: number, what: string, least = 0): number {
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
  if (typeof at === "number" && !Number.isNaN(at)) return at; // The hot path: `instanceof` costs more.
  const ms = at instanceof Date ? at.getTime() : at;
  if (typeof ms !== "number") throw new TypeError(`${what} must be epoch milliseconds or a Date, got ${show(at)}`);
  if (Number.isNaN(ms)) throw new RangeError(`${what} must be an instant, got ${at instanceof Date ? at : "NaN"}`);
  return ms;
}

/** Returns fn if it can be called; throws TypeError otherwise. */
export function callable<F>(fn: F | undefined, what: string): F {
  if (typeof fn === "function") return fn;
  throw new TypeError(`${what} must be a function, got ${show(fn)}`);
}

/** Returns the options; none if they are undefined or null. Throws TypeError if they are not an object. */
export function optionsOf<O extends object>(options: O | undefined, what: string): Partial<O> {
  if (options === undefined || options === null) return {};
  if (typeof options === "object") return options;
  throw new TypeError(`${what} must be an object, got ${show(options)}`);
}

/**
 * Returns the name. Throws TypeError if it is not a string, RangeError if it has half of a surrogate pair: no text that
 * leaves the process could show it.
 */
export function validName(name: string, what: string): string {
  if (typeof name !== "string") throw new TypeError(`${what} must be a string, got ${show(name)}`);
  if (/\p{Surrogate}/u.test(name)) throw new RangeError(`${what} must be well-formed Unicode, got ${show(name)}`);
  return name;
}

/** As {@link instant}, and finite. */
export function finiteInstant(at: number | Date, what: string): number {
  const ms = instant(at, what);
  if (Number.isFinite(ms)) return ms;
  throw new RangeError(`${what} must be a finite instant, got ${ms}`);
}

/**
 * Returns `result`, what a function has returned. Throws TypeError if it is a generator: the function's body has not
 * run yet, and would run after what the function was given has been taken back.
 */
export function noGenerator<R>(result: R, what: string): R {
  if (isGenerator(result)) throw new TypeError(`${what} must not be a generator function`);
  return result;
}

function isGenerator(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const tag = Object.prototype.toString.call(value);
  return tag === "[object Generator]" || tag === "[object AsyncGenerator]";
}

/** Whether the value is an object or a function: nothing else can be a promise, or stand in a WeakMap. */
export function isObject(value: unknown): value is object {
  return (typeof value === "object" && value !== null) || typeof value === "function";
}

export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return isObject(value) && typeof (value as { then?: unknown }).then === "function";
}
