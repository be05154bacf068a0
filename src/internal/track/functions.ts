/** Functions that a user names, to be found on stacks: what leak checks and deadlock reports leave out. */
import { show } from "../data/args.ts";
import { parseFrame } from "./frames.ts";

/**
 * A string is the name of a function or method, `"poll"`, or of a class and its method, `"Poller.poll"`. A regular
 * expression is tried on a whole line of the stack, which has the file's path too. Its flags g and y do not count.
 */
export type FunctionName = string | RegExp;

/** Functions that a check leaves out, by their places on a stack. */
export interface LeftOut {
  /** Of the first of the stack. */
  readonly creators?: readonly FunctionName[] | undefined;
  /** Of any of the stack. */
  readonly anyFunction?: readonly FunctionName[] | undefined;
}

/** Whether a stack begins with one of the creators, or has one of the functions. */
export function isLeftOut(stack: string, { creators = [], anyFunction = [] }: LeftOut): boolean {
  if (creators.length > 0) {
    const [first = ""] = stack.split("\n", 1);
    if (creators.some((creator) => isOf(first, creator))) return true;
  }
  return anyFunction.length > 0 && stack.split("\n").some((frame) => anyFunction.some((fn) => isOf(frame, fn)));
}

/** Whether the frame is of the named function. */
function isOf(frame: string, wanted: FunctionName): boolean {
  if (typeof wanted !== "string") return wanted.test(frame);
  // V8 writes `new Poller`, `Object.poll` of a function that is called on an object, `Poller.poll [as start]`.
  const fn = parseFrame(frame)?.fn.replace(/^(new |Object\.)|( \[as .+\])$/g, "") ?? "";
  return fn === wanted || fn.endsWith(`.${wanted}`);
}

/** Returns copies of both lists; none for one that is undefined. Throws TypeError if one is not a list of names. */
export function functionsLeftOut({ creators, anyFunction }: LeftOut, what: string): LeftOut {
  return {
    creators: functionNames(creators, `${what}creators`),
    anyFunction: functionNames(anyFunction, `${what}anyFunction`),
  };
}

function functionNames(list: readonly FunctionName[] | undefined, what: string): FunctionName[] {
  const isName = (it: unknown) => typeof it === "string" || it instanceof RegExp;
  return listOf(list, what, "strings and regular expressions", isName).map(withoutPosition);
}

/** With the flag g or y, an expression begins where its last match ended, and throws where it cannot keep that. */
function withoutPosition(name: FunctionName): FunctionName {
  if (typeof name === "string" || !/[gy]/.test(name.flags)) return name;
  return new RegExp(name.source, name.flags.replace(/[gy]/g, ""));
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
