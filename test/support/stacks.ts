/** A program that leaves something behind by way of each entry point, and what is wrong with the stacks it shows. */

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
export const KINDS = Object.keys(ENTRY_POINTS).map((key) => key.split(": ") as [name: string, kind: string]);

// Prints, for each entry point, what was found and where it was made. The first argument may limit the stacks.
export const PROGRAM = `
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

const { process } = globalThis; // Browsers have none.
if (process?.argv[2] !== undefined) Error.stackTraceLimit = Number(process.argv[2]);
leak.track("full");
const found = {};
for (const run of [${KINDS.map(([name]) => `user_${name}`).join(", ")}, () => user_deep(40)]) {
  const ignore = leak.current();
  void run();
  await new Promise((resolve) => setTimeout(resolve));
  found[run.name === "" ? "user_deep" : run.name] = leak.find({ ignore }).map(({ kind, stack }) => ({ kind, stack }));
}
console.log(JSON.stringify(found));
process?.exit();
`;

// A bundle of CommonJS has no await at its top.
export const WRAPPED = PROGRAM.replace('leak.track("full");', 'async function main() {\nleak.track("full");').concat(
  "}\nvoid main();\n",
);

export type Report = Record<string, Found[]>;

/**
 * What is wrong with the entry points whose leak, or the part of its stack that `part` takes, does not show their own
 * frame.
 */
export function wrong(report: Report, part: (stack: string) => string): string[] {
  return KINDS.flatMap(([name, kind]) => {
    const stack = report[`user_${name}`]?.find((leak) => leak.kind === kind)?.stack;
    if (stack === undefined) return [`${name}: no ${kind}`];
    const seen = part(stack);
    // V8's frames, and JavaScriptCore's.
    return new RegExp(`^(?: *at )?(?:async )?user_${name}\\b`, "m").test(seen) ? [] : [`${name}: ${seen}`];
  });
}

export const whole = (stack: string): string => stack;
export const firstFrame = (stack: string): string => stack.split("\n")[0] as string;
