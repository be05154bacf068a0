/** Functions that a user names, to be found on stacks: what leak checks and deadlock reports leave out. */
import { show } from "../data/args.ts";
import { parseFrame } from "./frames.ts";

/**
 * A string is the name of a function or method, `"poll"`, or of a class and its method, `"Poller.poll"`. A regular
 * expression is tried on a whole line of the stack, which has the file's path too.
 */
export type FunctionName = string | RegExp;

/** Whether the frame is of the named function. */
export function isOf(frame: string, wanted: FunctionName): boolean {
  if (typeof wanted !== "string") return frame.search(wanted) !== -1;
  // V8 writes `new Poller`, `Object.poll` of a function that is called on an object, `Poller.poll [as start]`.
  const fn = parseFrame(frame)?.fn.replace(/^(new |Object\.)|( \[as .+\])$/g, "") ?? "";
  return fn === wanted || fn.endsWith(`.${wanted}`);
}

/** Whether a stack begins with one of the named functions. */
export function isMadeBy(stack: string, creators: readonly FunctionName[]): boolean {
  if (creators.length === 0) return false;
  const [first = ""] = stack.split("\n", 1);
  return creators.some((creator) => isOf(first, creator));
}

/** Returns the list if it is one of names; none if it is undefined. Throws TypeError otherwise. */
export function functionNames(list: readonly FunctionName[] | undefined, what: string): readonly FunctionName[] {
  return listOf(list, what, "strings and regular expressions", (it) => typeof it === "string" || it instanceof RegExp);
}

/** Returns the list if it is one of the names of kinds; none if it is undefined. Throws TypeError otherwise. */
export function kindNames(list: readonly string[] | undefined, what: string): readonly string[] {
  return listOf(list, what, "strings", (it) => typeof it === "string");
}

function listOf<T>(list: readonly T[] | undefined, what: string, which: string, is: (it: unknown) => boolean): T[] {
  if (list === undefined) return [];
  if (Array.isArray(list) && list.every(is)) return [...list];
  const strange = Array.isArray(list) ? list.find((it) => !is(it)) : list;
  throw new TypeError(`${what} must be an array of ${which}, got ${show(strange)}`);
}
