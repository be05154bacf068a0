/** What the error classes share: names and brands, and errors made without a stack. */

const BRAND = Symbol.for("gopark.brand");

/**
 * Lets `instanceof cls` recognise the errors that another copy of the package made, by a brand instead of by identity,
 * and sets the `name` of its objects. Call it from the class's static block. A branded class may extend another: its
 * errors are instances of both. A user's subclass keeps the ordinary meaning of `instanceof`.
 */
export function brand(cls: abstract new (...args: never[]) => Error, tag: string, name: string = tag): void {
  Object.defineProperty(cls.prototype, BRAND, { value: tag });
  Object.defineProperty(cls.prototype, "name", { value: name, writable: true, configurable: true });
  Object.defineProperty(cls, Symbol.hasInstance, {
    value(this: unknown, value: unknown): boolean {
      if (this !== cls) return Function.prototype[Symbol.hasInstance].call(this, value);
      return value instanceof Error && isBranded(value, tag);
    },
  });
}

/** Whether the error's class, or one that it extends, has the brand. */
function isBranded(error: Error, tag: string): boolean {
  if (!(BRAND in error)) return false;
  for (let proto: object | null = error; proto !== null; proto = Object.getPrototypeOf(proto)) {
    if (Object.hasOwn(proto, BRAND) && (proto as { [BRAND]?: unknown })[BRAND] === tag) return true;
  }
  return false;
}

/**
 * Makes an error without a stack: capturing one costs microseconds, too much on a path that rejects under load, and the
 * stack of the cancel call does not help the task that waited.
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
    return withHeader(make());
  } finally {
    if (limit === undefined) delete traces.stackTraceLimit;
    else traces.stackTraceLimit = limit;
  }
}

// Whether the host leaves `stack` undefined where there are no frames, as JavaScriptCore does: code that splits it
// would break. Checked once, because reading a stack formats it.
let leavesNoStack: boolean | undefined;

function withHeader<E extends Error>(error: E): E {
  if (leavesNoStack === undefined) {
    try {
      leavesNoStack = typeof error.stack !== "string";
    } catch {
      return error; // A user's prepareStackTrace has thrown.
    }
  }
  if (leavesNoStack) setStack(error, "");
  return error;
}

/** Gives an error the stack `name: message`, followed by `frames`; anything else stays as it is. Never throws. */
export function setStack(error: unknown, frames: string): void {
  try {
    if (!(error instanceof Error)) return;
    const header = `${error.name}: ${error.message}`;
    const value = frames === "" ? header : `${header}\n${frames}`;
    Object.defineProperty(error, "stack", { value, configurable: true, writable: true });
  } catch {
    // An error that is frozen, or that throws when it is asked, keeps the stack it has.
  }
}

/** The call was refused because as many wait already as `maxWaiting` allows. */
export class QueueFullError extends Error {
  static {
    brand(this, "QueueFullError");
  }

  constructor(maxWaiting: number) {
    super(`queue full: maxWaiting is ${maxWaiting}`);
  }
}
