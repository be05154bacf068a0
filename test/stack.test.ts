/**
 * Stacks on hosts that write them otherwise, or cannot cut them, and in programs that are bundled with the library:
 * which frames are shown. Here the same in one process, with names that a `prepareStackTrace` gives; the programs
 * themselves are in leak.stacks.host.test.ts and in test/runtimes.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

type Stack = typeof import("../src/internal/track/stack.ts");
type Tracker = typeof import("../src/internal/track/tracker.ts");

interface Site {
  getFunctionName(): string | null;
  getLineNumber(): number;
  getFileName(): string | undefined;
}

interface Hooks {
  stackTraceLimit?: number | undefined;
  prepareStackTrace?: unknown;
  captureStackTrace?: unknown;
}
const hooks = Error as Hooks;
const HOOKS = ["stackTraceLimit", "prepareStackTrace", "captureStackTrace"] as const;
const before = HOOKS.map((key) => [key, Object.getOwnPropertyDescriptor(hooks, key)] as const);

let stack: Stack;
let tracker: Tracker;

async function load(): Promise<void> {
  vi.resetModules();
  stack = await import("../src/internal/track/stack.ts");
  tracker = await import("../src/internal/track/tracker.ts");
}

beforeEach(load);

afterEach(() => {
  for (const [key, descriptor] of before) {
    delete hooks[key];
    if (descriptor !== undefined) Object.defineProperty(hooks, key, descriptor);
  }
  vi.resetModules();
});

/** How a host writes a frame. */
type Format = (fn: string, place: string) => string;
const v8: Format = (fn, place) => `    at ${fn} (${place})`;
const jsc: Format = (fn, place) => `${fn}@${place}`;
// As V8 writes it if the innermost function has no name.
const v8Bare: Format = (fn, place) => (fn === "newError" ? `    at ${place}` : v8(fn, place));

/**
 * Lets the host name the files: of stack.ts, of the functions here whose names begin with "lib", and of the others
 * here. The frames of all else are left out.
 */
function nameFiles(own: string, library: string, program: string, format: Format = v8): void {
  hooks.prepareStackTrace = (_: unknown, sites: Site[]) => {
    const lines = sites.flatMap((site) => {
      const [fn, file] = [site.getFunctionName() || "anonymous", site.getFileName() ?? ""];
      const line = site.getLineNumber();
      if (file.endsWith("/src/internal/track/stack.ts")) return [format(fn, `${own}:${line}:2`)];
      if (!file.endsWith("/test/stack.test.ts")) return [];
      return [format(fn, `${fn.startsWith("lib") ? library : program}:${line}:2`)];
    });
    return format === jsc ? lines.join("\n") : ["Error", ...lines].join("\n");
  };
}

/** The names of the functions that a stack shows. */
const shown = (text: string) => text.split("\n").map((line) => /(?:at )?([\w.]+)/.exec(line)?.[1]);

// Called from the program, and those call further into the library.
function libEntry(...entryPoints: (typeof libEntry)[]): string {
  return libInner(() => stack.callerStack(entryPoints));
}
function libInner<R>(fn: () => R): R {
  return fn();
}
function libOuter(): string {
  return libEntry(libEntry);
}
function user<R>(fn: () => R): R {
  const result = fn();
  return result;
}

function deep<R>(n: number, fn: () => R): R {
  const result = n === 0 ? fn() : deep(n - 1, fn);
  return result;
}

describe("the library in a folder of its own", () => {
  test.each([
    [
      "of a package",
      "/app/node_modules/gopark/dist/internal/track/stack.js",
      "/app/node_modules/gopark/dist/channel.js",
    ],
    ["of a package in one file", "/app/gopark/dist/gopark-core.3f.js", "/app/gopark/dist/channel.js"],
    ["that is odd", "/app/at (home)@1/internal/track/stack.ts", "/app/at (home)@1/channel.ts"],
    ["that is a URL", "https://host/gopark@1.0.0/internal/track/stack.js", "https://host/gopark@1.0.0/channel.js"],
  ])("%s: its frames are left out, however the host writes them", async (_, own, library) => {
    for (const format of [v8, v8Bare, jsc]) {
      await load();
      nameFiles(own, library, "/app/user.js", format);
      const text = user(() => libEntry());
      expect(text).not.toContain(library);
      expect(text).not.toContain(own);
      expect(text).toContain(format("user", "/app/user.js").slice(0, -1));
    }
  });
});

describe("the library bundled into the program's file", () => {
  beforeEach(() => nameFiles("/app/all.js", "/app/all.js", "/app/all.js"));

  test("the frames begin above the entry point that was called", () => {
    expect(shown(user(() => libEntry(libOuter, libEntry))).slice(0, 2)).toEqual(["anonymous", "user"]);
  });

  test("above the outer one of two, and of those that call entry points", () => {
    tracker.registerOuter(() => [libOuter]);
    expect(shown(user(() => libOuter())).slice(0, 2)).toEqual(["anonymous", "user"]);
    expect(shown(user(() => libEntry(libEntry))).slice(0, 2)).toEqual(["anonymous", "user"]);
  });

  test.each([
    ["none was called", () => user(() => libEntry(libOuter))],
    ["the host cannot cut stacks", () => user(() => libEntry(libEntry))],
  ])("all are shown where %s", (why, call) => {
    if (why.startsWith("the host")) hooks.captureStackTrace = undefined;
    hooks.stackTraceLimit = 1;
    const names = shown(call());
    expect(names).toContain("callerStack");
    expect(names.slice(names.indexOf("libInner"), names.indexOf("user"))).toEqual([
      "libInner",
      "libEntry",
      "anonymous",
    ]);
  });

  test("what the call was on behalf of goes first", () => {
    expect(user(() => stack.callerStack([libEntry], "the call"))).toBe("the call");
  });

  test("a limit counts the frames above", () => {
    stack.setFrames(3);
    expect(shown(deep(5, () => libEntry(libEntry)))).toEqual(["anonymous", "deep", "deep"]);
  });
});

describe("as many frames", () => {
  test.each([
    [5, 5],
    [1, 1],
    [0, 1],
    // Of these V8 would capture nothing, so the library sets one of its own.
    [undefined, 10],
    ["7", 10],
  ])("with a limit of the host's of %j: %i", (limit, frames) => {
    nameFiles("/gopark/internal/track/stack.js", "/gopark/channel.js", "/app/user.js");
    if (limit === undefined) delete hooks.stackTraceLimit;
    else hooks.stackTraceLimit = limit as number;
    const descriptor = Object.getOwnPropertyDescriptor(hooks, "stackTraceLimit");
    expect(deep(20, () => libEntry()).split("\n").length).toBe(frames);
    expect(Object.getOwnPropertyDescriptor(hooks, "stackTraceLimit")).toEqual(descriptor);
  });

  test("as the host has captured, where its limit cannot be set", () => {
    nameFiles("/gopark/internal/track/stack.js", "/gopark/channel.js", "/app/user.js");
    Object.defineProperty(hooks, "stackTraceLimit", { value: 15, writable: false, configurable: true });
    const text = deep(20, () => libEntry());
    expect(shown(text).at(-1)).toBe("deep");
    expect(shown(text).length).toBeLessThan(15);
  });
});

describe("a prepareStackTrace of the program's", () => {
  test("that makes no string is left out once, and is there again", () => {
    for (const prepare of [
      () => [],
      () => {
        throw new Error("mine");
      },
    ]) {
      hooks.prepareStackTrace = prepare;
      expect(shown(user(() => libEntry()))).toContain("user");
      expect(hooks.prepareStackTrace).toBe(prepare);
    }
  });

  test("that makes no string and cannot be left out leaves no stack", () => {
    Object.defineProperty(hooks, "prepareStackTrace", { value: () => [], writable: false, configurable: true });
    expect(user(() => libEntry())).toBe("");
  });

  test("that makes a text without frames leaves no stack", () => {
    hooks.prepareStackTrace = () => "no frames here";
    expect(user(() => libEntry())).toBe("");
  });
});

test("a frame that contains a whole module is shortened in the middle", () => {
  const url = `data:text/javascript,${"x".repeat(2000)}`;
  nameFiles("/gopark/internal/track/stack.js", "/gopark/channel.js", url);
  const [line = ""] = user(() => libEntry()).split("\n");
  const [, fn = "", at = ""] = /at (\w+).*(:\d+:2)\)$/.exec(line) ?? [];
  const whole = v8(fn, url + at);
  expect(line).toBe(`${whole.slice(0, 500)}…${whole.slice(-100)}`);
  const short = `/${"y".repeat(900)}`;
  nameFiles("/gopark/internal/track/stack.js", "/gopark/channel.js", short);
  expect(user(() => libEntry())).toContain(short);
});

test("a header that looks like a frame is none", () => {
  const { name } = Error.prototype;
  Error.prototype.name = "late at night";
  let text: string;
  try {
    text = user(() => libEntry());
  } finally {
    Error.prototype.name = name;
  }
  expect(text).toMatch(/^ {4}at /);
});

describe("the callers of a function that runs", () => {
  const callers = () => user(() => libInner(() => stack.callersOf(libInner)));

  test("are those above it, at most ten", () => {
    nameFiles("/app/all.js", "/app/all.js", "/app/all.js");
    expect(callers().map((line) => shown(line)[0])).toContain("user");
    hooks.stackTraceLimit = 3;
    expect(deep(20, callers).length).toBe(10);
    expect(hooks.stackTraceLimit).toBe(3);
  });

  test("are none where it is not running, nor where the host cannot cut stacks, on which nothing is written", () => {
    expect(stack.callersOf(libEntry)).toEqual([]);
    for (const none of [undefined, 7]) {
      hooks.captureStackTrace = none;
      const keys = Object.getOwnPropertyNames(hooks);
      expect(callers()).toEqual([]);
      expect(Object.getOwnPropertyNames(hooks)).toEqual(keys);
    }
  });
});
