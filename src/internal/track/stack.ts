/**
 * Stacks: where something was made, as text, with the library's own frames left out.
 *
 * Always formatted at once: an unformatted stack keeps the receivers of its frames alive.
 */

type ErrorHooks = {
  stackTraceLimit?: number;
  prepareStackTrace?: unknown;
  captureStackTrace?: (target: object, entry?: unknown) => void;
};
const hooks = Error as ErrorHooks;

// So many frames beside those that the host would show, for those of the library, which are left out.
const OWN_FRAMES = 12;

/** A public function of any signature, to be compared by identity. */
// biome-ignore lint/complexity/noBannedTypes: nothing else is a supertype of all functions and classes.
export type PublicFunction = Function;

// Of those public functions that call other public functions: what they make is made by their caller.
const outerFunctions: (() => readonly PublicFunction[])[] = [];

/** Says that these functions call other public ones. The outer ones first. */
export function callOthers(functions: () => readonly PublicFunction[]): void {
  outerFunctions.push(functions);
}

/**
 * The stack of whoever called into the library, a frame a line; empty if the host gives none. `entries` are the public
 * functions that may have been called, the outer ones first: what they called is left out even where library and caller
 * are bundled into one file. Frames from the library's own folder are left out too, as long as others remain.
 */
export function callerStack(entries: readonly PublicFunction[]): string {
  const limit = typeof hooks.stackTraceLimit === "number" ? Math.max(hooks.stackTraceLimit, 1) : 10;
  const stackTraceLimit = limit + OWN_FRAMES;
  const all = [...outerFunctions.flatMap((functions) => functions()), ...entries];
  let captured = withHooks({ stackTraceLimit }, () => capture(all));
  // A user's prepareStackTrace may throw, or return anything.
  if (captured === "") captured = withHooks({ stackTraceLimit, prepareStackTrace: undefined }, () => capture(all));
  const frames = captured
    .split("\n")
    .filter((frame) => frame.trim() !== "" && !frame.includes("async Promise.a"))
    .map(shortened);
  const theirs = frames.filter((frame) => !isOwn(frame));
  if (theirs.length > 0 && theirs.length < frames.length) return theirs.slice(0, limit).join("\n");
  // Nothing tells whose the frames are, unless they were cut: then show those of the library rather than lose the user's.
  return frames.slice(0, isCut(frames) ? limit : stackTraceLimit).join("\n");
}

/** A module that is a `data:` URL stands in each of its frames whole. */
function shortened(frame: string): string {
  return frame.length <= 1000 ? frame : `${frame.slice(0, 500)}…${frame.slice(-100)}`;
}

/** Whether the frames begin with the caller's: those of the library have this function among them. */
function isCut(frames: readonly string[]): boolean {
  return !frames.some((frame) => frame.includes("callerStack"));
}

// Where the library's files are, as frames show it; empty where they are bundled into one. Read when first needed.
let ownFolder: string | undefined;

function isOwn(frame: string): boolean {
  ownFolder ??= folderOf(framesOf(new Error()).split("\n")[0] ?? "", "internal/track/stack.");
  return ownFolder !== "" && frame.includes(ownFolder);
}

/** The folder that `file` is in, by a frame in that file: `at name (folder/file:1:2)`, `at folder/file:1:2`, or `name@...`. */
function folderOf(frame: string, file: string): string {
  const end = frame.lastIndexOf(file);
  if (end === -1) return "";
  // A folder's name may have parentheses and spaces; a function's name has none followed by a parenthesis.
  const place = [" (", "at ", "@"].find((mark) => frame.includes(mark));
  return place === undefined ? "" : frame.slice(frame.indexOf(place) + place.length, end);
}

function capture(entries: readonly PublicFunction[]): string {
  if (typeof hooks.captureStackTrace === "function") {
    for (const entry of entries) {
      const frames = framesOf(captureAt(entry));
      if (frames !== "") return frames;
    }
  }
  return framesOf(new Error());
}

/** An object with the stack of whoever called `entry`; without frames if `entry` is not on the stack. */
function captureAt(entry: unknown): { readonly stack?: unknown } {
  const target = {};
  hooks.captureStackTrace?.(target, entry);
  return target;
}

/** The frames of an error's stack, without its header; empty if it has none, or is no text. */
function framesOf(error: { readonly stack?: unknown }): string {
  let stack: unknown;
  try {
    stack = error.stack;
  } catch {
    return "";
  }
  if (typeof stack !== "string") return "";
  // V8 puts a header first, JavaScriptCore does not: its frames are `name@place`, V8's begin with "at".
  const lines = stack.split("\n");
  const first = lines.findIndex((line) => /^\s*at /.test(line) || /@|\[native code\]/.test(line));
  return first === -1 ? "" : lines.slice(first).join("\n");
}

/** Calls `fn` with some of Error's settings changed meanwhile, where the host allows it. */
function withHooks<R>(changed: ErrorHooks, fn: () => R): R {
  const names = Object.keys(changed) as (keyof ErrorHooks)[];
  const before = names.map((name) => Object.getOwnPropertyDescriptor(hooks, name));
  try {
    for (const name of names)
      Object.defineProperty(hooks, name, { value: changed[name], writable: true, configurable: true });
  } catch {
    return fn(); // Frozen intrinsics: as they are.
  }
  try {
    return fn();
  } finally {
    names.forEach((name, i) => {
      const descriptor = before[i];
      if (descriptor === undefined) delete hooks[name];
      else Object.defineProperty(hooks, name, descriptor);
    });
  }
}
