/**
 * Where a leak was made, as full tracking records it: the stack begins with the user's own frame, whatever the entry
 * point, the host's settings, and the files of library and user.
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { answer, bundle, type Project, project } from "./support/hosts.ts";

interface Found {
  readonly kind: string;
  readonly stack: string;
}

/**
 * What leaves something behind: the body of a function `user_<name>`, which the recorded stack must begin with. The
 * word after the colon is the kind of what is left; a body may leave others, too.
 */
const ENTRY_POINTS: Record<string, string> = {
  "receive: chan receive": "void new Channel().receive();",
  "receiveWithContext: chan receive": "quiet(new Channel().receive(context.withCancel(bg).ctx));",
  "receiveWithSignal: chan receive": "quiet(new Channel().receive(new AbortController().signal));",
  "send: chan send": "void new Channel().send(1);",
  "next: chan receive": "void new Channel().values().next();",
  "iterate: chan receive": "for await (const _ of new Channel());",
  "iterateOn: chan receive": "const ch = new Channel(1); ch.trySend(1); for await (const _ of ch);",
  "afterAwait: chan receive": "await null; await new Channel().receive();",
  "receiveDone: chan receive": "void context.withCancel(bg).ctx.done().receive();",
  "selectReceive: select": "void select({ ch: new Channel() });",
  "selectSend: select": "void select({ sent: new Channel().sending(1) });",
  "selectMany: select": "void select({ ch: new Channel(), late: after(1e6), stop: context.withCancel(bg).ctx });",
  "selectNothing: select (no cases)": "void select({});",
  "selectForeign: chan receive": "void select({ stop: foreign() });",
  "acquire: semaphore acquire": "void taken().acquire(bg);",
  "acquired: semaphore unit": "void new semaphore.Weighted(1).acquire(bg);",
  "tryAcquire: semaphore unit": "new semaphore.Weighted(1).tryAcquire();",
  "permit: semaphore permit": "void taken().permit(bg);",
  "permitHeld: semaphore unit": "void new semaphore.Weighted(1).permit(bg);",
  "withPermit: semaphore permit": "void taken().withPermit(bg, () => {});",
  "withPermitHeld: semaphore unit": "void new semaphore.Weighted(1).withPermit(bg, forever);",
  "sleep: sleep": "void time.sleep(1e6);",
  "sleepWithContext: sleep": "quiet(time.sleep(1e6, context.withCancel(bg).ctx));",
  "timer: timer": "new time.Timer(1e6);",
  "timerReset: timer": "const timer = new time.Timer(1e6); timer.stop(); timer.reset(1e6);",
  "ticker: ticker": "new time.Ticker(1e6);",
  "timerReceive: chan receive": "void new time.Timer(1e6).c.receive();",
  "rateWait: rate wait": "const limiter = new rate.Limiter(1e-6, 1); limiter.allow(); void limiter.wait(bg);",
  "groupGo: errgroup go": "const g = new errgroup.Group(); g.setLimit(0); void g.go(forever);",
  "groupTask: task": "void new errgroup.Group().go(forever);",
  "groupTryGo: task": "new errgroup.Group().tryGo(forever);",
  "groupWait: errgroup wait": "const g = new errgroup.Group(); void g.go(forever); void g.wait();",
  "groupContext: context": "errgroup.withContext(bg);",
  "scope: context": "void errgroup.scope(bg, forever);",
  "scopeTask: task": "void errgroup.scope(bg, function user_scopeTask(g) { void g.go(forever); return forever(); });",
  "map: context": "void errgroup.map(bg, [1, 2, 3], forever, { limit: 2 });",
  "mapTask: task": "void errgroup.map(bg, [1, 2, 3], forever, { limit: 2 });",
  "forEach: context": "void errgroup.forEach(bg, [1, 2, 3], forever, { limit: 2 });",
  "go: task": "void go(forever);",
  "update: shardmap update":
    "const map = new shardmap.ShardMap(); void map.update(1, forever); void map.update(1, forever);",
  "getOrLoad: shardmap load": "void new shardmap.ShardMap().getOrLoad(1, forever);",
  "loader: shardmap loader": "void new shardmap.ShardMap().getOrLoad(1, forever);",
  "singleflightDo: singleflight do": "void new singleflight.Group().do(1, forever);",
  "singleflightWork: singleflight work": "void new singleflight.Group().do(1, forever);",
  "withCancel: context": "context.withCancel(bg);",
  "withTimeout: context": "context.withTimeout(bg, 1e6);",
  "withDeadline: context": "context.withDeadline(bg, time.now() + 1e6);",
  "withLock: mutex lock": "const m = new sync.Mutex(); m.tryLock(); void m.withLock(forever);",
  "withRLock: rwmutex rLock": "const rw = new sync.RWMutex(); rw.tryLock(); void rw.withRLock(forever);",
  "poolGet: pool object": "objects().get();",
  "poolLease: pool object": "objects().lease();",
  "poolUse: pool object": "void objects().use(forever);",
};

/** The entry points by their names, with the kinds of what they leave behind. */
const KINDS = Object.keys(ENTRY_POINTS).map((key) => key.split(": ") as [name: string, kind: string]);

// Prints, for each entry point, what was found and where it was made. The first argument may limit the stacks.
const PROGRAM = `
import { after, Channel, context, errgroup, go, leak, pool, rate, select, semaphore } from "gopark";
import { shardmap, singleflight, sync, time } from "gopark";

const bg = context.background();
const forever = () => new Promise(() => {});
const quiet = (promise) => void promise.catch(() => {});
const objects = () => new pool.Pool({ create: () => ({}), reset: () => {} });
// A context of another implementation, which is listened to by a receive.
function foreign() {
  const { signal } = new AbortController();
  const done = new Channel();
  return { deadline() {}, done: () => done, err() {}, value() {}, signal };
}
function taken() {
  const sem = new semaphore.Weighted(1);
  sem.tryAcquire();
  return sem;
}

${KINDS.map(([name, kind]) => `async function user_${name}() { ${ENTRY_POINTS[`${name}: ${kind}`]} }`).join("\n")}

function user_deep(depth) {
  if (depth === 0) void new Channel().receive();
  else user_deep(depth - 1);
}

if (process.argv[2] !== undefined) Error.stackTraceLimit = Number(process.argv[2]);
leak.track("full");
const found = {};
for (const run of [${KINDS.map(([name]) => `user_${name}`).join(", ")}, () => user_deep(40)]) {
  const ignore = leak.current();
  void run();
  await new Promise((resolve) => setImmediate(resolve));
  found[run.name === "" ? "user_deep" : run.name] = leak.find({ ignore }).map(({ kind, stack }) => ({ kind, stack }));
}
console.log(JSON.stringify(found));
process.exit();
`;

// A bundle of CommonJS has no await at its top.
const WRAPPED = PROGRAM.replace('leak.track("full");', 'async function main() {\nleak.track("full");').concat(
  "}\nvoid main();\n",
);

type Report = Record<string, Found[]>;

/**
 * What is wrong with the entry points whose leak, or the part of its stack that `part` takes, does not show their own
 * frame.
 */
function wrong(report: Report, part: (stack: string) => string): string[] {
  return KINDS.flatMap(([name, kind]) => {
    const stack = report[`user_${name}`]?.find((leak) => leak.kind === kind)?.stack;
    if (stack === undefined) return [`${name}: no ${kind}`];
    const seen = part(stack);
    return new RegExp(`^ *at (async )?user_${name}\\b`, "m").test(seen) ? [] : [`${name}: ${seen}`];
  });
}

const whole = (stack: string) => stack;
const firstFrame = (stack: string) => stack.split("\n")[0] as string;

// All that a path may hold which looks different in a URL, in a regular expression, or like the place in a frame.
const ODD = "Ordner für (1) a+b [x] 100%25 Übung:2:3 (2)";

let home: Project;
let odd: Project;

beforeAll(() => {
  home = project();
  odd = project(ODD);
  for (const { write } of [home, odd]) {
    write("user.mjs", PROGRAM);
    write("wrapped.mjs", WRAPPED);
    write("without.mjs", "delete Error.captureStackTrace;");
    write("sites.mjs", "Error.prepareStackTrace = (_, sites) => sites;");
  }
});
afterAll(() => {
  home.remove();
  odd.remove();
});

const WITHOUT = ["--import", "./without.mjs"];
const SITES = ["--import", "./sites.mjs"];

// Several tests look at one run.
const runs = new Map<string, Promise<Report>>();

/** Runs a program of the project, once. */
function runOnce(where: Project, args: readonly string[]): Promise<Report> {
  const key = JSON.stringify([where.path, args]);
  const report = runs.get(key) ?? answer<Report>(where.path, ...args);
  runs.set(key, report);
  return report;
}

/** Runs the program unchanged. */
function run(where: Project, flags: readonly string[] = [], ...args: string[]): Promise<Report> {
  return runOnce(where, [...flags, "user.mjs", ...args]);
}

/** Runs the program and the library from one file. */
async function runBundle(where: Project, format: "cjs" | "esm", flags: readonly string[] = [], ...args: string[]) {
  const file = format === "cjs" ? "bundle.cjs" : "bundle.mjs";
  await bundle(join(where.path, "wrapped.mjs"), join(where.path, file), format);
  return runOnce(where, [...flags, file, ...args]);
}

describe("the stack begins with the user's frame", () => {
  test.each<[string, () => Promise<Report>]>([
    ["in the installed package", () => run(home)],
    ["where source maps name the library's frames otherwise", () => run(home, ["--enable-source-maps"])],
    ["where a stack has five frames", () => run(home, [], "5")],
    ["where a stack has one frame", () => run(home, [], "1")],
    ["where the host started with stacks of five frames", () => run(home, ["--stack-trace-limit=5"])],
    ["where the host cannot cut stacks", () => run(home, WITHOUT)],
    ["where the host cannot cut stacks, with source maps", () => run(home, [...WITHOUT, "--enable-source-maps"])],
    ["where a stack is an array of call sites", () => run(home, SITES)],
    ["in a folder with an odd name", () => run(odd)],
    ["in a folder with an odd name, where the host cannot cut stacks", () => run(odd, WITHOUT)],
    ["in a folder with an odd name, with source maps", () => run(odd, ["--enable-source-maps"])],
    ["in one file of ESM with the library", () => runBundle(home, "esm")],
    ["in one file of CommonJS with the library", () => runBundle(home, "cjs")],
    ["in one file with the library, where a stack has one frame", () => runBundle(home, "cjs", [], "1")],
    ["in one file with the library, where a stack is an array of call sites", () => runBundle(home, "cjs", SITES)],
    ["in one file with the library, in a folder with an odd name", () => runBundle(odd, "cjs")],
  ])("%s", async (_, program) => {
    const report = await program();
    expect(wrong(report, firstFrame)).toEqual([]);
    expect(Object.keys(report)).toHaveLength(KINDS.length + 1);
  });
});

describe("the user's frames are not cut away", () => {
  test.each(["esm", "cjs"] as const)(
    "in one file with the library, where the host cannot cut stacks: %s",
    async (f) => {
      const report = await runBundle(home, f, WITHOUT);
      expect(wrong(report, whole)).toEqual([]);
    },
  );

  // Frames that a host leaves out are lost: with ten frames, ten of the user's.
  test.each<[string, () => Promise<Report>, number]>([
    ["in the installed package", () => run(home), 10],
    ["with source maps", () => run(home, ["--enable-source-maps"]), 10],
    ["in one file with the library", () => runBundle(home, "cjs"), 10],
    ["where a stack has five frames", () => run(home, [], "5"), 5],
    ["where a stack has thirty frames", () => run(home, [], "30"), 30],
  ])("by the library's own: %s", async (_, program, most) => {
    const { user_deep: deep } = await program();
    const frames = deep?.[0]?.stack.split("\n") ?? [];
    expect(frames).toHaveLength(most);
    expect(frames.filter((frame) => !/\bat user_deep\b/.test(frame))).toEqual([]);
  });
});
