/**
 * What the library takes from its host: on one that lacks it, that has changed it, or whose own part throws. The
 * library's files are loaded anew where they look at the host once.
 */
import { afterEach, describe, expect, test, vi } from "vitest";
import { asyncDisposable, disposable } from "../src/internal/host/dispose.ts";
import { brand, QueueFullError, setStack } from "../src/internal/host/errors.ts";

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
  vi.resetModules();
});

type Host = typeof import("../src/internal/host/host.ts");
type Async = typeof import("../src/internal/host/async.ts");
type Errors = typeof import("../src/internal/host/errors.ts");

/** Loads a file of `src/internal/host` on the host as it is now. */
function load<M>(name: "host" | "async" | "errors"): Promise<M> {
  vi.resetModules();
  return import(`../src/internal/host/${name}.ts`);
}

/** Calls `fn` while a property of an object has another value; undefined is none. */
function having<R>(object: object, key: PropertyKey, value: unknown, fn: () => R): R {
  const descriptor = Object.getOwnPropertyDescriptor(object, key);
  if (value === undefined) Reflect.deleteProperty(object, key);
  else Object.defineProperty(object, key, { value, configurable: true, writable: true });
  try {
    return fn();
  } finally {
    if (descriptor === undefined) Reflect.deleteProperty(object, key);
    else Object.defineProperty(object, key, descriptor);
  }
}

describe("the originals", () => {
  test("are the host's own, where nothing is replaced", async () => {
    const { realSetTimeout, realClearTimeout, realSetImmediate, realDate, realPerformance } = await load<Host>("host");
    expect([realSetTimeout, realClearTimeout, realSetImmediate]).toEqual([setTimeout, clearTimeout, setImmediate]);
    expect([realDate, realPerformance]).toEqual([Date, performance]);
  });

  test("are those that sinon's fakes keep, where the library is loaded under them", async () => {
    const kept = {
      _setTimeout: () => "real",
      _clearTimeout: () => {},
      _setImmediate: () => {},
      _Date: class {},
      _performance: { timeOrigin: 1, now: () => 7 },
    };
    vi.stubGlobal(
      "setTimeout",
      Object.assign(() => "fake", { clock: kept }),
    );
    const host = await load<Host>("host");
    expect(host.realSetTimeout(() => {}, 0)).toBe("real");
    expect(host.realClearTimeout).toBe(kept._clearTimeout);
    expect(host.realSetImmediate).toBe(kept._setImmediate);
    expect(host.realDate).toBe(kept._Date);
    expect([host.realPerformance.timeOrigin, host.realNow()]).toEqual([1, 7]);
    expect(host.timersAreReplaced()).toBe(true);
  });
});

describe("realUnref, of a timer", () => {
  const log: string[] = [];

  test.each([
    ["that is a number, by Deno's function", 7, true, ["Deno 7"]],
    ["that is a number, on hosts without Deno: nothing can be done", 7, false, []],
    ["that is an object, by its method", { unref: () => log.push("unref") }, true, ["unref"]],
    ["that is an object without one: nothing can be done", {}, true, []],
  ])("%s", async (_, timer, deno, wanted) => {
    log.length = 0;
    vi.stubGlobal("Deno", deno ? { unrefTimer: (id: number) => log.push(`Deno ${id}`) } : undefined);
    const { realUnref } = await load<Host>("host");
    realUnref(timer);
    expect(log).toEqual(wanted);
  });
});

test("the longest delay is the host's: one more is an overflow", async () => {
  const { MAX_DELAY } = await load<Host>("host");
  const overflows: string[] = [];
  vi.spyOn(process, "emitWarning").mockImplementation((_, name) => void overflows.push(String(name)));
  clearTimeout(setTimeout(() => {}, MAX_DELAY));
  expect(overflows).toEqual([]);
  clearTimeout(setTimeout(() => {}, MAX_DELAY + 1));
  expect(overflows).toEqual(["TimeoutOverflowWarning"]);
});

describe("a module of the host's", () => {
  test("is undefined where the host says that there is none, or throws, or has no way to ask", async () => {
    const { builtin } = await load<Host>("host");
    expect(builtin("node:fs")).toBe(process.getBuiltinModule("node:fs"));
    const refuse = () => {
      throw new Error("not here");
    };
    for (const getBuiltinModule of [() => undefined, refuse, undefined]) {
      expect(having(globalThis, "process", { getBuiltinModule }, () => builtin("node:fs"))).toBeUndefined();
    }
    expect(having(globalThis, "process", undefined, () => builtin("node:fs"))).toBeUndefined();
  });

  test.each([
    ["no such module", undefined],
    ["a module without AsyncLocalStorage", {}],
    ["an AsyncLocalStorage without snapshot", { AsyncLocalStorage: class {} }],
  ])("with %s, what outlives a call runs in its caller's context", async (_, asyncHooks) => {
    const asked: string[] = [];
    vi.spyOn(process, "getBuiltinModule").mockImplementation(((name: string) => {
      asked.push(name);
      return name === "node:async_hooks" ? asyncHooks : undefined;
    }) as typeof process.getBuiltinModule);
    const { inRootContext, findAsyncStorage, asyncStorage } = await load<Async>("async");
    expect(asked).toContain("node:async_hooks");
    expect(inRootContext(() => 7)).toBe(7);
    if (asyncHooks !== undefined && "AsyncLocalStorage" in asyncHooks) return;
    expect(findAsyncStorage()).toBeUndefined();
    expect(() => asyncStorage("a trace")).toThrow("a trace needs AsyncLocalStorage");
  });
});

describe("an error that has no caller", () => {
  /** What is thrown from timers, once `fn` has run. */
  function thrownBy(fn: (async: Async) => void): Promise<unknown[]> {
    const thrown: unknown[] = [];
    vi.stubGlobal("setTimeout", (timer: () => void, ms: number) => {
      expect(ms).toBe(0);
      expect(timer).toThrow();
      try {
        timer();
      } catch (error) {
        thrown.push(error);
      }
    });
    return load<Async>("async").then((async) => {
      fn(async);
      return thrown;
    });
  }
  const error = new Error("nobody's");
  const fail = () => {
    throw new Error("not this one");
  };

  test("goes to reportError where the host has it", async () => {
    const reported: unknown[] = [];
    vi.stubGlobal("reportError", (error: unknown) => reported.push(error));
    expect(await thrownBy(({ report }) => report(error))).toEqual([]);
    expect(reported).toEqual([error]);
  });

  test.each([
    ["there is none", undefined],
    ["it throws", fail],
  ])("is thrown from a timer where %s", async (_, reportError) => {
    vi.stubGlobal("reportError", reportError);
    expect(await thrownBy(({ report }) => report(error))).toEqual([error]);
  });

  test("is a warning of the process, if `warn` is called", async () => {
    const warnings: unknown[] = [];
    vi.spyOn(process, "emitWarning").mockImplementation((warning) => void warnings.push(warning));
    const { warn } = await load<Async>("async");
    warn(error, "a part");
    warn("text", "a part");
    expect(warnings).toEqual([error, new Error("a part: text")]);
    expect(warnings[0]).toBe(error);
  });

  test.each([
    ["the process takes no warnings", {}],
    ["there is no process", undefined],
  ])("is thrown like any other where %s", async (_, process) => {
    vi.stubGlobal("reportError", undefined);
    const thrown = await thrownBy(({ warn }) =>
      having(globalThis, "process", process, () => {
        warn(error, "a part");
        warn(null, "a part");
      }),
    );
    expect(thrown).toEqual([error, new Error("a part: null")]);
  });
});

describe("a method that `using` calls", () => {
  test("is like one of a class's own: it can be replaced, and is not enumerated", () => {
    const target = {};
    const dispose = () => {};
    disposable(target, dispose);
    const disposeLater = async () => {};
    asyncDisposable(target, disposeLater);
    const how = { configurable: true, writable: true, enumerable: false };
    expect(Object.getOwnPropertyDescriptor(target, Symbol.dispose)).toEqual({ value: dispose, ...how });
    expect(Object.getOwnPropertyDescriptor(target, Symbol.asyncDispose)).toEqual({ value: disposeLater, ...how });
  });

  test("is left out where the host has no symbol for it", () => {
    const target = {};
    having(globalThis, "Symbol", {}, () => {
      disposable(target, () => {});
      asyncDisposable(target, async () => {});
    });
    expect(Reflect.ownKeys(target)).toEqual([]);
  });
});

describe("a branded error", () => {
  class Base extends Error {
    static {
      brand(this, "BaseTag", "Base");
    }
  }
  class Derived extends Base {
    static {
      brand(this, "Derived");
    }
  }

  test("is an instance of each class whose brand its class, or one that this extends, has", () => {
    for (const error of [new Base(), new Derived()]) expect(error).toBeInstanceOf(Base);
    expect(new Derived()).toBeInstanceOf(Derived);
    expect(new Base()).not.toBeInstanceOf(Derived);
    for (const other of [new Error("other"), Object.create(Base.prototype, {}), {}, null, 7]) {
      expect(other instanceof Derived).toBe(false);
    }
    expect(new Error("other")).not.toBeInstanceOf(Base);
  });

  test("is known to another copy of the library by the same registered symbol", async () => {
    const key = Symbol.for("gopark.brand");
    expect([Object(Derived.prototype)[key], Object(Base.prototype)[key]]).toEqual(["Derived", "BaseTag"]);
    const copy = await load<Errors>("errors");
    expect(new copy.QueueFullError(1)).toBeInstanceOf(QueueFullError);
    expect(new QueueFullError(3).message).toBe("queue full: maxWaiting is 3");
  });

  test("has a name that can be changed, as any error's", () => {
    expect([new Base().name, new Derived().name, new QueueFullError(1).name]).toEqual([
      "Base",
      "Derived",
      "QueueFullError",
    ]);
    const error = new Base();
    error.name = "Mine";
    expect([error.name, new Base().name]).toEqual(["Mine", "Base"]);
    const how = { configurable: true, writable: true, enumerable: false };
    expect(Object.getOwnPropertyDescriptor(Base.prototype, "name")).toEqual({ value: "Base", ...how });
  });

  test("is judged by a user's subclass as usual", () => {
    class Mine extends Derived {}
    expect(new Mine()).toBeInstanceOf(Mine);
    expect(new Derived()).not.toBeInstanceOf(Mine);
  });
});

describe("an error made without a stack", () => {
  const LIMIT = "stackTraceLimit";

  test.each([undefined, 0, 3, 100])(
    "leaves the program's limit %j as it was, also if making it throws",
    async (limit) => {
      const { withoutStack } = await load<Errors>("errors");
      having(Error, LIMIT, limit, () => {
        const before = Object.getOwnPropertyDescriptor(Error, LIMIT);
        const error = withoutStack(() => new Error("plain"));
        expect(error.stack).toBe("Error: plain");
        expect(Object.getOwnPropertyDescriptor(Error, LIMIT)).toEqual(before);
        const fail = () => {
          throw error;
        };
        expect(() => withoutStack(fail)).toThrow(error);
        expect(Object.getOwnPropertyDescriptor(Error, LIMIT)).toEqual(before);
      });
    },
  );

  test("has one where the limit cannot be set", async () => {
    const { withoutStack } = await load<Errors>("errors");
    const descriptor = Object.getOwnPropertyDescriptor(Error, LIMIT) as PropertyDescriptor;
    Object.defineProperty(Error, LIMIT, { ...descriptor, value: 10, writable: false });
    try {
      expect(withoutStack(() => new Error("plain")).stack).toMatch(/^Error: plain\n {4}at /);
    } finally {
      Object.defineProperty(Error, LIMIT, descriptor);
    }
  });

  /** An error whose `stack` is this; `reads` counts how often it is read. */
  function errorWith(stack: () => unknown): Error & { reads: number } {
    const error = Object.assign(new Error("plain"), { reads: 0 });
    return Object.defineProperty(error, "stack", {
      configurable: true,
      get() {
        error.reads++;
        return stack();
      },
    });
  }

  test("gets `name: message` for one where the host leaves none; the host is checked only once", async () => {
    const { withoutStack } = await load<Errors>("errors");
    const errors = [1, 2, 3].map(() => withoutStack(() => errorWith(() => undefined)));
    expect(errors.map(({ reads }) => reads)).toEqual([1, 0, 0]);
    expect(errors.map(({ stack }) => stack)).toEqual(Array(3).fill("Error: plain"));
  });

  test("keeps what the host makes; the host is checked only once", async () => {
    const { withoutStack } = await load<Errors>("errors");
    const errors = [1, 2, 3].map(() => withoutStack(() => errorWith(() => "of the host")));
    expect(errors.map(({ reads }) => reads)).toEqual([1, 0, 0]);
    expect(errors.map(({ stack }) => stack)).toEqual(Array(3).fill("of the host"));
  });

  test("is handed out also if its stack throws when it is read, and the next is looked at", async () => {
    const { withoutStack } = await load<Errors>("errors");
    const hostile = errorWith(() => {
      throw new Error("a user's prepareStackTrace");
    });
    expect(withoutStack(() => hostile)).toBe(hostile);
    expect(withoutStack(() => errorWith(() => undefined)).stack).toBe("Error: plain");
  });
});

describe("a stack that is set", () => {
  test("follows `name: message`, and can be set again, by the program too", () => {
    const error = new RangeError("too large");
    setStack(error, "    at here");
    expect(error.stack).toBe("RangeError: too large\n    at here");
    setStack(error, "");
    expect(error.stack).toBe("RangeError: too large");
    const how = { configurable: true, writable: true };
    expect(Object.getOwnPropertyDescriptor(error, "stack")).toMatchObject(how);
  });

  test("leaves alone what is no error, what is frozen, and what throws", () => {
    const object = { name: "a", message: "b", stack: "c" };
    setStack(object, "    at here");
    expect(object.stack).toBe("c");
    const frozen = Object.freeze(new Error("frozen"));
    const { stack } = frozen;
    setStack(frozen, "    at here");
    expect(frozen.stack).toBe(stack);
    const hostile = Object.defineProperty(new Error("hostile"), "name", {
      get() {
        throw new Error("its own");
      },
    });
    expect(() => setStack(hostile, "    at here")).not.toThrow();
  });
});
