/**
 * Stacks: where something was made, as text, with the frames of the library and of the host left out.
 *
 * Always formatted at once: an unformatted stack keeps the receivers of its frames alive.
 */

import { parseFrame } from "./frames.ts";
import { outerEntryPoints, type PublicFunction } from "./tracker.ts";

type ErrorHooks = {
  stackTraceLimit?: number;
  prepareStackTrace?: unknown;
  captureStackTrace?: (target: object, entry?: unknown) => void;
};
const hooks = Error as ErrorHooks;

type HasStack = { readonly stack?: unknown };

// How many frames are captured beyond the host's limit, since those of the library are left out.
const OWN_FRAMES = 14;

// How many frames of the program a stack has; undefined is as many as the host allows.
let frames: number | undefined;

export function setFrames(n: number | undefined): void {
  frames = n;
}

/**
 * The stack of the code that called into the library, one frame per line; empty if the host gives none.
 *
 * The library's frames are left out: all that are in its own folder, as long as others remain. If none remain but the
 * host's, the result is `otherwise`, where that is given. Where library and caller are bundled into one file, the
 * caller's frames begin above the public function that was called, one of `entryPoints`; there `otherwise` goes first,
 * as a caller in the library looks like any other.
 *
 * The host's frames are left out too, wherever they stand, as long as others remain. What runs an `await`'s
 * continuation stands in the middle of a stack: the same place would have a stack for each of them.
 */
export function callerStack(entryPoints: readonly PublicFunction[], otherwise?: string): string {
  const limit = frames ?? (typeof hooks.stackTraceLimit === "number" ? Math.max(hooks.stackTraceLimit, 1) : 10);
  return withLimit(limit + OWN_FRAMES, () => {
    const stack = captured(newError);
    const seen = recent.get(stack);
    if (seen?.limit === limit) return seen.text;
    const all = linesOf(stack);
    ownFolder ??= folderOf(all[0] ?? "");
    const callerFrames = ownFolder === "" ? [] : all.filter((frame) => !frame.includes(ownFolder as string));
    const ofHost = callerFrames.every(isOfHost);
    if (otherwise !== undefined && ofHost) return otherwise;
    if (callerFrames.length > 0) {
      const text = shown(callerFrames, limit);
      if (!ofHost) remember(stack, limit, text);
      return text;
    }
    const above = framesAbove(entryPoints);
    // Where the two cannot be told apart, all are shown, so that none of the caller's is lost.
    return above.length > 0 ? shown(above, limit) : shown(all, Number.POSITIVE_INFINITY);
  });
}

// What the last stacks came to, each captured at this limit. Most are of a few places, and to take a stack apart costs
// more than to capture it.
const recent = new Map<string, { readonly limit: number; readonly text: string }>();
const MAX_RECENT = 200;
const MAX_LENGTH = 10_000; // See `shortened`.

function remember(stack: string, limit: number, text: string): void {
  if (stack.length > MAX_LENGTH) return;
  if (recent.size === MAX_RECENT) recent.clear();
  recent.set(stack, { limit, text });
}

/** The frames that are not the host's, at most so many; of all of them if there are no others. */
function shown(all: readonly string[], limit: number): string {
  const others = all.filter((frame) => !isOfHost(frame));
  return (others.length > 0 ? others : all).slice(0, limit).map(shortened).join("\n");
}

// Where the library's files are, as frames show it; empty where they are bundled into one. Read when first needed.
let ownFolder: string | undefined;

/** The frames above the outermost of the entry points that has been called. */
function framesAbove(entryPoints: readonly PublicFunction[]): string[] {
  for (const entry of [...outerEntryPoints(), ...entryPoints]) {
    const frames = framesAboveOne(entry);
    if (frames.length > 0) return frames; // Otherwise it has not been called.
  }
  return [];
}

/** Those above one function that has been called; none where the host has no `captureStackTrace`. */
function framesAboveOne(entry: PublicFunction): string[] {
  const { captureStackTrace } = hooks;
  if (typeof captureStackTrace !== "function") return [];
  return linesOf(
    captured(() => {
      const target: HasStack = {};
      captureStackTrace(target, entry);
      return target;
    }),
  );
}

/**
 * The frames of those that have called this function, which is running: at most ten. None if the host itself has, and
 * where it has no `captureStackTrace`.
 */
export function callersOf(fn: PublicFunction): string[] {
  return withLimit(10, () => framesAboveOne(fn));
}

/** The lines of a stack that are frames of code: not those of Promise.all, any and allSettled. */
function linesOf(stack: string): string[] {
  return stack.split("\n").filter((line) => line.trim() !== "" && !line.includes("async Promise.a"));
}

/** Whether a frame is of a built-in function, or of the host's own modules. */
function isOfHost(frame: string): boolean {
  if (/\(<anonymous>\)$|\[native code\]$/.test(frame)) return true;
  return /^(node|ext|native)(:|$)/.test(parseFrame(shortened(frame))?.file ?? "");
}

/** Shortens a frame: one in a module that is a `data:` URL contains the whole module. */
function shortened(frame: string): string {
  return frame.length <= 1000 ? frame : `${frame.slice(0, 500)}…${frame.slice(-100)}`;
}

// This file, from the library's folder: as it is, and with the rest of the core, as scripts/build.mjs names it.
const OWN_FILES = ["internal/track/stack.", "gopark-core."];

/**
 * The folder that the library's files are in, by a frame in this one: `at name (folder/file:1:2)`,
 * `at folder/file:1:2`, or `name@...`. Empty for a file of another name, where a program is bundled with the library.
 */
function folderOf(frame: string): string {
  const end = Math.max(...OWN_FILES.map((file) => frame.lastIndexOf(file)));
  if (end === -1) return "";
  // The first " (" counts: a folder's name may contain one, and a function's name does not.
  const place = [" (", "at ", "@"].find((mark) => frame.includes(mark));
  return place === undefined ? "" : frame.slice(frame.indexOf(place) + place.length, end);
}

const newError = (): HasStack => new Error();

/**
 * The frames of the stack that `capture` captures, without a header; empty if it has none. A user's prepareStackTrace
 * may throw, or return anything: then the stack is captured again without it.
 */
function captured(capture: () => HasStack): string {
  const stack = read(capture());
  if (typeof stack === "string") return framesOf(stack);
  const { prepareStackTrace } = hooks;
  try {
    hooks.prepareStackTrace = undefined;
    try {
      return framesOf(String(capture().stack));
    } finally {
      hooks.prepareStackTrace = prepareStackTrace;
    }
  } catch {
    return ""; // Frozen intrinsics.
  }
}

function read(error: HasStack): unknown {
  try {
    return error.stack;
  } catch {
    return undefined;
  }
}

/** V8 puts a header first, JavaScriptCore does not: its frames are `name@place`, V8's begin with "at". */
function framesOf(stack: string): string {
  const first = /^(\s*at |.*@|\[native code\])/m.exec(stack);
  return first === null ? "" : stack.slice(first.index);
}

/** Calls `fn` with another limit of the frames of a stack, where the host allows it. */
function withLimit<R>(limit: number, fn: () => R): R {
  const before = Object.getOwnPropertyDescriptor(hooks, "stackTraceLimit");
  try {
    hooks.stackTraceLimit = limit;
  } catch {
    // Frozen intrinsics: as many as there are.
  }
  try {
    return fn();
  } finally {
    if (before === undefined) delete hooks.stackTraceLimit;
    else Object.defineProperty(hooks, "stackTraceLimit", before);
  }
}
