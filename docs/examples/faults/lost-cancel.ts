/**
 * Fault 7: contexts that are never cancelled. Each request makes one below a context that lives as long as the service,
 * and drops its cancel function. The parent keeps all of them.
 *
 * The tool: `leak.onLostCancel`, which tells of a dropped cancel function when the collector has found it; under
 * sampled tracking also in production. And the kind "context" of `leak.counters()`, which grows.
 *
 * The cure: `using`, or a `finally` with `cancel()`.
 *
 * `npm run example faults/lost-cancel` runs it.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { context, leak } from "gopark";

// So that this program need not wait for the collector.
setFlagsFromString("--expose-gc");
const collectGarbage: () => void = runInNewContext("gc");

leak.track("full");
const service = context.withCancel(context.background());

function handle(): void {
  const { ctx } = context.withCancel(service.ctx); // Its cancel function is lost.
  ctx.err();
}

function handleCured(): void {
  using scope = context.withCancel(service.ctx);
  scope.ctx.err();
}

const lost = new Map<string | undefined, number>();
const stop = leak.onLostCancel(({ stack }) => {
  const by = stack?.match(/\w+(?= \()/)?.[0];
  lost.set(by, (lost.get(by) ?? 0) + 1);
});

const contexts = () => leak.counters().context;
for (let request = 0; request < 1000; request++) handle();
while ((lost.get("handle") ?? 0) < 1000) {
  collectGarbage();
  await new Promise((resolve) => setImmediate(resolve));
}
console.log("the fault:", contexts(), "contexts,", lost.get("handle"), "lost cancels at handle");

for (let request = 0; request < 1000; request++) handleCured();
console.log("the cure:", contexts(), "contexts, none more");
service.cancel();
stop();
// Output:
// the fault: 1001 contexts, 1000 lost cancels at handle
// the cure: 1001 contexts, none more
