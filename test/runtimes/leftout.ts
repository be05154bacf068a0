/** The test files that other runtimes run, and what of them does not, and why. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../support/examples.ts";

/**
 * What depends on the runtime: the traces of Go and the models, which use everything; time, turns, and who waits for
 * whom under load; signals and contexts; HTTP; the collector and stacks. The other files run in Node's other versions
 * as they do in this one, or are about this one: test/runtimes/matrix.ts runs them by name.
 */
const CHOSEN = [
  /\.golden\./,
  /model\./,
  /^explore\/(channels|timers)\./,
  /^storm\./,
  /^(deadlines|turn|time)\./,
  /^(heap|fakeclocks|asynccontext|asynccontext\.deadlines)\.test/,
  /^foreign\./,
  /^(channel|context|context\.endings|errgroup|pool|select|select\.twins|semaphore|sync|errors\.brand)\.test/,
  /^(admission|http|signal)\./,
  /^leak\.(test|origin|sampled|scope|stacks\.test|truth)/,
];

const CHILDREN = "programs in child processes of Node: alive.test.ts runs such programs in each runtime";

/** Of these, in no other runtime. */
const EVERYWHERE: Record<string, string> = {
  "deadlines.process.test.ts": CHILDREN,
  "foreign.process.test.ts": CHILDREN,
};

/** All test files, named from `test/`, but those in folders with a package of their own. */
function allFiles(): string[] {
  return readdirSync(join(ROOT, "test"), { recursive: true, encoding: "utf8" })
    .map((file) => file.replaceAll("\\", "/"))
    .filter((file) => file.endsWith(".test.ts") && !/^(consumers|fleet|http|mutation|observe|runtimes)\//.test(file))
    .sort();
}

/** The files that other runtimes run; of all there are, those with one of `parts` in their names. */
export function testFiles(parts: readonly string[]): string[] {
  const all = allFiles();
  if (parts.length > 0) return all.filter((file) => parts.some((part) => file.includes(part)));
  const chosen = all.filter((file) => CHOSEN.some((pattern) => pattern.test(file)));
  const gone = Object.keys(EVERYWHERE).filter((file) => !all.includes(file));
  if (gone.length > 0) throw new Error(`left out, and not there: ${gone.join(", ")}`);
  return chosen.filter((file) => !(file in EVERYWHERE));
}

/** Whole files that one runtime does not run. */
const NOT_RUN: Record<string, Record<string, string>> = {
  Bun: {
    "leak.truth.test.ts": "its collector keeps whatever looks like a pointer on the stack: proofs may come later",
  },
  Chromium: { "leak.scope.test.ts": "a page has no AsyncLocalStorage, and a scope says that it needs it" },
};

// Bun and Deno have a `fetch`, sockets and servers of their own, whose errors look otherwise.
const HTTP_OF_NODE = /^(admission|http|signal)\./;

/** Whether a runtime leaves out a file, which imports these of Node's modules. */
export function isLeftOut(host: string, file: string, modules: readonly string[]): boolean {
  // A page has none of them.
  if (host === "Chromium" && modules.length > 0) return true;
  return (!host.startsWith("Node") && HTTP_OF_NODE.test(file)) || NOT_RUN[host]?.[file] !== undefined;
}

const STOPPED =
  "an abort reaches the library behind a listener that stops it by Node's and Bun's addAbortListener alone";
const NODE_FLAGS = "starts a process with Node's flags";
const FRAMES = "JavaScriptCore has no frame for a function that has returned what another call returns";
const REDEFINED = "Bun does not ask for Error.prepareStackTrace any more, once a test above has redefined it";

/** How many tests, and why. */
type Failing = readonly [tests: number, why: string];

const behindListeners: Record<string, Record<string, Failing>> = {
  "foreign.signals.test.ts": {
    "behind a listener that stops immediate propagation": [36, STOPPED],
    "behind a capturing listener that stops immediate propagation": [36, STOPPED],
    "behind an onabort that stops immediate propagation": [36, STOPPED],
  },
};

/** The tests that a runtime does not pass, by the beginnings of their names. */
export const FAILS: Record<string, Record<string, Record<string, Failing>>> = {
  Bun: {
    "leak.origin.test.ts": { "toNodeStream of a stage that waits": [1, FRAMES] },
    "leak.sampled.test.ts": { "frames: one place has as many as asked": [1, FRAMES] },
    "leak.stacks.test.ts": {
      "the frames of the host > are all that is shown": [1, REDEFINED],
      "the frames of the host > give way to the call": [1, REDEFINED],
      "the frames of the host > are not those of": [4, REDEFINED],
    },
    "time.afterfunc.test.ts": {
      "it is counted, recorded, and keeps the process alive": [1, FRAMES],
      "it runs in the async context of the call that set it": [1, "the test before it has left a timer behind"],
    },
  },
  Chromium: behindListeners,
  Deno: {
    ...behindListeners,
    "asynccontext.deadlines.test.ts": { "the host's timer keeps no store alive": [4, NODE_FLAGS] },
    "leak.truth.test.ts": {
      "a proved leak > makes no total smaller": [1, NODE_FLAGS],
      "a snapshot >": [3, NODE_FLAGS],
    },
  },
};
