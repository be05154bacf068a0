/**
 * A server that shuts down in good order: it stops accepting requests, finishes those that run, and cuts off those that
 * are not done when a grace period is over.
 *
 * Rules of thumb: use two contexts. The one that ends the accepting is not the one that the requests work under, or the
 * shutdown would cut them off. And limit the drain in time: one request that hangs must not keep the process from
 * ending.
 *
 * `npm run example graceful-drain` runs it.
 */
import { Channel, context, errgroup, go, select, time } from "gopark";
import type { ReceiveChannel } from "gopark/channel";
import type { Context } from "gopark/context";

const GRACE = 50;

interface Request {
  readonly name: string;
  readonly ms: number;
}

/** Answers one request. Its failure is printed here, and ends neither the server nor the other requests. */
async function handle(ctx: Context, { name, ms }: Request): Promise<void> {
  try {
    await time.sleep(ms, ctx); // Stands for the work.
    console.log(`${name}: answered`);
  } catch {
    console.log(`${name}: cut off, ${String(context.cause(ctx))}`);
  }
}

/** Serves until `shutdown` ends, then drains. Resolves when nothing is in flight any more. */
async function serve(shutdown: Context, requests: ReceiveChannel<Request>): Promise<void> {
  // Keeps the values of `shutdown`, and not its end.
  using work = context.withCancel(context.withoutCancel(shutdown));
  const inFlight = new errgroup.Group();

  for (;;) {
    const s = await select({ request: requests, shutdown });
    if (s.case === "shutdown" || !s.ok) break;
    const request = s.value;
    await inFlight.go(() => handle(work.ctx, request));
  }
  console.log("draining");

  using grace = context.withTimeout(context.withoutCancel(shutdown), GRACE);
  try {
    await inFlight.wait(grace.ctx);
  } catch {
    work.cancel(new Error("the grace is over"));
    await inFlight.wait();
  }
  console.log("drained");
}

const { ctx: shutdown, cancel: shutDown } = context.withCancel(context.background());
const requests = new Channel<Request>(); // No buffer: a request that is not being handled is still with its client.
const server = go(() => serve(shutdown, requests));

/** A client. The same context ends its wait when the server takes no more requests. */
async function ask(name: string, ms: number): Promise<void> {
  await requests.send({ name, ms }, shutdown).catch(() => console.log(`${name}: refused`));
}

try {
  await ask("quick", 10);
  await ask("slow", 40);
  await ask("hanging", Number.POSITIVE_INFINITY);
  await time.sleep(20);
} finally {
  shutDown(); // In a service: process.once("SIGTERM", () => shutDown()).
}
await ask("late", 10);
await server;
// Output:
// quick: answered
// draining
// late: refused
// slow: answered
// hanging: cut off, Error: the grace is over
// drained
