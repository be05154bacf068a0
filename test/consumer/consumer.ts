/**
 * A program of a consumer of the package. scripts/packed.mjs and test/consumers compile it against the built
 * declarations, with several settings, none with `esnext.disposable` in its `lib`, and run it. It prints its last line.
 */
import { after, Channel, context, errgroup, go, leak, rate, select, semaphore, time } from "gopark";
import { type Check, contextOf, deadline, rateLimit, web } from "gopark/admission";
import { Channel as SameChannel } from "gopark/channel";
import { background, type CancelScope, type Context, contextKey, withTimeout, withValue } from "gopark/context";
import type { Group } from "gopark/errgroup";
import { type Permit, Weighted } from "gopark/semaphore";
import type { Drained, drain } from "gopark/signal";

const user = contextKey<string>("user");
const scope: CancelScope = withTimeout(withValue(background(), user, "ada"), 60_000);
const [ctx, cancel] = scope;

const jobs: SameChannel<number> = new Channel<number>(1);
const task: Promise<void> = go(() => jobs.send(6, ctx));

const s = await select({ job: jobs, stop: ctx, late: after(60_000), off: null });
let answer = 0;
switch (s.case) {
  case "job":
    answer = s.ok ? s.value : -1;
    break;
  case "stop": {
    const error: Error = s.value;
    throw error;
  }
  case "late": {
    const at: number = s.value;
    throw new Error(`late at ${at}`);
  }
}
await task;

const sem = new Weighted(2);
const permit: Permit = await sem.permit(ctx);
const same: boolean = sem instanceof semaphore.Weighted && SameChannel === Channel;
permit.release();
{
  using held = await sem.permit(ctx, 2);
  if (held.n !== sem.held()) throw new Error("the permit holds nothing");
}

const product = await errgroup.scope(ctx, async (g: Group, inner: Context) => {
  await g.go(() => time.sleep(1, inner));
  return answer * 7;
});

const limiter = new rate.Limiter(rate.every(10), 1);
const allowed: boolean = limiter.allow();
const name: string | undefined = ctx.value(user);

const once: Check = rateLimit({ limit: 1, window: 60_000, key: "global" });
const serve: (request: Request) => Promise<Response> = web(
  [deadline({ timeout: 1000 }), once],
  (request) => new Response(String(contextOf(request).err())),
);
const drained: Awaited<ReturnType<typeof drain>> | Drained = { cut: [], connections: 0 };
const answers = [await serve(new Request("http://host/")), await serve(new Request("http://host/"))];
const said = `${await answers[0]?.text()} ${answers[1]?.status} ${drained.cut.length}`;

cancel();
const canceled: boolean = context.is(ctx.err(), context.Canceled);
const left: number = leak.find().length;

console.log(JSON.stringify({ product, same, allowed, name, canceled, left, said }));

// {"product":42,"same":true,"allowed":true,"name":"ada","canceled":true,"left":0,"said":"undefined 429 0"}
