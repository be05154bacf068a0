/**
 * Retries in an outage: alone, under a budget, and around a circuit breaker.
 *
 * Rules of thumb: three attempts are three times the load, at the moment at which the service can bear it least. A
 * budget that the callers share bounds that. A breaker, which belongs inside the retry, stops the calls altogether;
 * what it refuses is not worth a retry.
 *
 * `npm run example retry-budget` runs it.
 */
import { breaker, context, retry, time } from "gopark";
import type { Context } from "gopark/context";

let up = true;
let calls = 0;

/** Stands for a request to another service. */
async function service(ctx: Context): Promise<string> {
  calls++;
  await time.sleep(1, ctx);
  if (!up) throw new Error("503");
  return "answer";
}

/** A hundred requests. Prints how often the service was called for them, and how many were answered. */
async function phase(what: string, request: () => Promise<string>): Promise<void> {
  calls = 0;
  let answered = 0;
  for (let i = 0; i < 100; i++) {
    await request().then(
      () => answered++,
      () => {},
    );
  }
  console.log(`  ${what}: ${calls} calls, ${answered} answered`);
}

using scope = context.withTimeout(context.background(), 10 * 60_000);
const { ctx } = scope;

const cb = new breaker.CircuitBreaker({ timeout: 1000 });
const refused = (err: unknown) => err instanceof breaker.OpenStateError || err instanceof breaker.TooManyRequestsError;
const shared = new retry.Budget();
const budget = new retry.Budget();

const ways: Record<string, () => Promise<string>> = {
  "retries alone": () => retry(ctx, service),
  "under a budget": () => retry(ctx, service, { budget: shared }),
  "under a budget, around a breaker": () =>
    retry(ctx, (c) => cb.execute(() => service(c)), { budget, retryIf: (err) => !refused(err) }),
};
for (const [way, request] of Object.entries(ways)) {
  console.log(`${way}:`);
  up = true;
  await phase("in good times", request);
  up = false;
  await phase("in the outage", request);
  up = true;
  await time.sleep(1001, ctx);
  await phase("after it", request);
}
// Output:
// retries alone:
//   in good times: 100 calls, 100 answered
//   in the outage: 300 calls, 0 answered
//   after it: 100 calls, 100 answered
// under a budget:
//   in good times: 100 calls, 100 answered
//   in the outage: 120 calls, 0 answered
//   after it: 100 calls, 100 answered
// under a budget, around a breaker:
//   in good times: 100 calls, 100 answered
//   in the outage: 6 calls, 0 answered
//   after it: 100 calls, 100 answered
