/**
 * Hedged requests: if a replica has not answered after a while, the next one is asked too. The first answer wins, and
 * the other requests are cancelled.
 *
 * Rules of thumb: hedge after the time in which nearly all requests are answered, so that few are sent twice. Cancel
 * the other requests: otherwise the servers get twice the load just when they are slow. And give the channel room for
 * every answer, so that one that comes when nothing receives neither waits nor is lost.
 *
 * `npm run example hedging` runs it.
 */
import { after, Channel, context, errgroup, select, time } from "gopark";
import type { Context } from "gopark/context";

type Request<T> = (ctx: Context) => Promise<T>;

/** The first answer. Asks the next one `delay` after the last, or as soon as one has failed. Fails when all have. */
async function hedge<T>(parent: Context, delay: number, requests: readonly Request<T>[]): Promise<T> {
  const [asked, ctx] = errgroup.withContext(parent);
  await using _ = asked; // Leaving cancels ctx, and waits until the other requests have ended.

  const answers = new Channel<PromiseSettledResult<T>>(requests.length);
  const failures: unknown[] = [];
  let sent = 0;
  while (failures.length < requests.length) {
    const request = requests[sent];
    if (request !== undefined) {
      sent++;
      // A failure is an answer here. As an error of the group it would cancel the others.
      await asked.go(async () => {
        const [answer] = await Promise.allSettled([request(ctx)]);
        answers.trySend(answer);
      });
    }
    const s = await select({ answer: answers, late: sent < requests.length ? after(delay) : null, stop: ctx });
    if (s.case === "stop") throw s.value;
    if (s.case === "late" || !s.ok) continue;
    if (s.value.status === "fulfilled") return s.value.value;
    failures.push(s.value.reason);
  }
  throw new AggregateError(failures, `all ${failures.length} replicas failed`);
}

/** Stands for a server that answers after `ms`, or fails with the status. */
function replica(name: string, ms: number, status = 200): Request<string> {
  return async (ctx) => {
    console.log(`  ${name} is asked`);
    await time.sleep(ms, ctx).catch((err) => {
      console.log(`  ${name} is cancelled`);
      throw err;
    });
    if (status !== 200) throw new Error(String(status));
    return `answered by ${name}`;
  };
}

using scope = context.withTimeout(context.background(), 2000);
const scenarios: Record<string, Request<string>[]> = {
  "the first is quick": [replica("a", 10), replica("b", 10)],
  "the first is slow": [replica("a", 1000), replica("b", 10), replica("c", 10)],
  "the first fails": [replica("a", 10, 503), replica("b", 10)],
  "all fail, two at once": [replica("a", 60, 503), replica("b", 10, 503)],
};
for (const [what, requests] of Object.entries(scenarios)) {
  console.log(`${what}:`);
  console.log(`  ${await hedge(scope.ctx, 50, requests).catch((err: Error) => err.message)}`);
}
console.log("the caller gives up:");
using patience = context.withTimeout(scope.ctx, 70);
console.log(`  ${await hedge(patience.ctx, 50, [replica("a", 1000), replica("b", 1000)]).catch(String)}`);
// Output:
// the first is quick:
//   a is asked
//   answered by a
// the first is slow:
//   a is asked
//   b is asked
//   a is cancelled
//   answered by b
// the first fails:
//   a is asked
//   b is asked
//   answered by b
// all fail, two at once:
//   a is asked
//   b is asked
//   all 2 replicas failed
// the caller gives up:
//   a is asked
//   b is asked
//   a is cancelled
//   b is cancelled
//   TimeoutError: context deadline exceeded
