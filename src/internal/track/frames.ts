/**
 * Frames: one line of a stack, as V8 or JavaScriptCore formats it, read into its parts.
 *
 *   V8:             `at fn (file:1:2)`, `at async fn (file:1:2)`, `at file:1:2`, `at fn (<anonymous>)`
 *   JavaScriptCore: `fn@file:1:2`, `file:1:2`, `fn@[native code]`
 */

/** One line of a stack. */
export interface Frame {
  /** The function as the host names it, without `async`; "(anonymous)" where it has no name. */
  readonly fn: string;
  /** Its file as the host names it: a path or a URL. Of a built-in function: "<anonymous>" or "[native code]". */
  readonly file: string;
  /** Counted from 1; 0 where the host gives none. */
  readonly line: number;
  /** Counted from 1; 0 where the host gives none. */
  readonly column: number;
}

// What lines have been read to: a program has few, and shows them again and again. Emptied when it is full, since code
// that is made at run time has lines without end.
const cache = new Map<string, Frame | undefined>();
const MAX_CACHED = 10_000;

/** Reads a line of a stack; undefined if it is no frame of code. (`async Promise.all (index 0)` is none.) */
export function parseFrame(line: string): Frame | undefined {
  const known = cache.get(line);
  if (known !== undefined || cache.has(line)) return known;
  const text = line.trim();
  const frame = text.startsWith("at ") ? parseV8(text.slice(3)) : parseJavaScriptCore(text);
  if (cache.size >= MAX_CACHED) cache.clear();
  cache.set(line, frame);
  return frame;
}

/** The frames of a stack, the innermost first. */
export function framesOf(stack: string): Frame[] {
  return stack.split("\n").flatMap((line) => parseFrame(line) ?? []);
}

function parseV8(text: string): Frame | undefined {
  const code = text.startsWith("async ") ? text.slice(6) : text;
  if (/^Promise\.\w+ \(index \d+\)$/.test(code)) return undefined;
  // The first " (" counts: a path may contain one, and a function's name does not.
  const open = code.endsWith(")") ? code.indexOf(" (") : -1;
  return open === -1 ? frameOf("", code) : frameOf(code.slice(0, open), code.slice(open + 2, -1));
}

function parseJavaScriptCore(text: string): Frame | undefined {
  const at = text.indexOf("@");
  const name = text.slice(0, Math.max(at, 0));
  // The place of a function without a name stands alone, and may itself contain an "@".
  if (at === -1 || isPlace(name)) return isPlace(text) || text === "[native code]" ? frameOf("", text) : undefined;
  return frameOf(name.replace(/^async[ *]/, ""), text.slice(at + 1));
}

/** Whether a text begins as an absolute path or a URL does. */
function isPlace(text: string): boolean {
  return /^(\/|[\w-]+:\/\/)/.test(text);
}

function frameOf(fn: string, place: string): Frame {
  const [, file, line = 0, column = 0] = /^(.*?)(?::(\d+))?(?::(\d+))?$/.exec(place) ?? ["", place];
  return { fn: fn || "(anonymous)", file: file || "<anonymous>", line: Number(line), column: Number(column) };
}
