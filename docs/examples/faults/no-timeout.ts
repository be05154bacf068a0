/**
 * Fault 1: a call without a timeout, and without a limit per host. The upstream stops answering; every request adds a
 * call that waits for ever.
 *
 * The tool: the goroutine profile of `gopark/pprof`. All that waits stands at one line, and the number grows. (In a
 * service, `go tool pprof` reads the same profile from `/debug/pprof/goroutine`.)
 *
 * The cure: one deadline for the whole request, and a semaphore for the host. What the host cannot take waits in line,
 * and what waits too long gives up.
 *
 * `npm run example faults/no-timeout` runs it.
 */
import { Channel, context, errgroup, go, leak, semaphore } from "gopark";
import * as pprof from "gopark/pprof";

leak.track("full");

// Stands for an upstream that has stopped answering.
const answers = new Channel<string>();

/** The profile, without what differs from run to run: the number of waits at each function. */
async function profile(): Promise<string> {
  let text = "";
  for await (const piece of pprof.text(1)) text += piece;
  const places = new Map<string, number>();
  for (const [, n, fn = ""] of text.matchAll(/^(\d+) @\n.*\n#\t(\w+)/gm)) {
    places.set(fn, (places.get(fn) ?? 0) + Number(n));
  }
  return [...places].map(([fn, n]) => `${n} at ${fn}`).join(", ") || "nothing waits";
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

async function callUpstream(): Promise<string | undefined> {
  return (await answers.receive()).value;
}

for (let request = 0; request < 1000; request++) void go(callUpstream);
while ((leak.counters()["chan receive"] ?? 0) < 1000) await turn();
console.log("the fault:", await profile());
answers.close();

// The cure.
const host = new semaphore.Weighted(10);
const silent = new Channel<string>();

async function callInTime(ctx: context.Context): Promise<string | undefined> {
  using _ = await host.permit(ctx);
  most = Math.max(most, host.held());
  return (await silent.receive(ctx)).value;
}

let most = 0;
let failed = 0;
using scope = context.withTimeout(context.background(), 500);
await errgroup.scope(scope.ctx, async (requests, ctx) => {
  for (let request = 0; request < 1000; request++) {
    await requests.go(() => callInTime(ctx).catch(() => failed++));
  }
});
console.log("the cure:", `${await profile()}, ${most} called the host at once, ${failed} gave up in time`);
// Output:
// the fault: 1000 at callUpstream
// the cure: nothing waits, 10 called the host at once, 1000 gave up in time
