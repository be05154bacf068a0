/** What a link does with a client, all of it; and what tests of a failover ask. */
import { expect } from "vitest";
import { background, withCancel } from "../../../src/context.ts";
import { type Client, connect, Limiter, Mutex, type Subscriber, Weighted } from "../../../src/redis.ts";
import { turn } from "../../support/turn.ts";

export interface Pair {
  readonly client: Client;
  readonly subscriber?: Subscriber;
  end(): unknown;
}

/** Does all of it, on a limiter, a semaphore and a lock of this name. */
export async function check({ client, subscriber, end }: Pair, name: string): Promise<void> {
  const options = { timeout: 2000, ...(subscriber !== undefined && { subscriber }) };
  const [link, other] = [connect(client, options), connect(client, options)];
  const limiter = new Limiter(link, name, 1e-3, 2);
  expect(await Promise.all([1, 2, 3].map(() => limiter.allow()))).toEqual([true, true, false]);
  expect((await limiter.reserve()).delay()).toBeGreaterThan(900_000);
  // Many keys: of a cluster, on every node.
  expect(await Promise.all(Array.from({ length: 30 }, (_, i) => limiter.at(String(i)).allow(2)))).toEqual(
    Array(30).fill(true),
  );

  // So long that a waiter which is not told would ask much too late.
  const lasting = { lease: 600_000 };
  const [sem, others] = [new Weighted(link, name, 2, lasting), new Weighted(other, name, 2, lasting)];
  const lease = await sem.permit(background(), 2);
  expect(await others.tryPermit()).toBeUndefined();
  const waiting = others.permit(background());
  while (other.waiting.size === 0) await turn();
  if (subscriber !== undefined) while (!other.tells()) await turn();
  const [ctx, cancel] = withCancel(background());
  const cancelled = others.permit(ctx, 2).catch((error) => String(error));
  cancel();
  expect(await cancelled).toBe("AbortError: context canceled");
  expect(await lease.release()).toBe(true);
  const next = await waiting;
  expect([next.valid(), await next.release()]).toEqual([true, true]);

  const fences: number[] = [];
  for (const it of [link, other])
    await new Mutex(it, name).withLock(background(), (_, { fence }) => fences.push(fence));
  expect(fences[1]).toBeGreaterThan(fences[0] as number);
  expect([link.failures(), other.failures()]).toEqual([0, 0]);
  await Promise.all([link.close(), other.close()]);
  await end();
}

/** Whether the lock is free, as its server says once there is one that answers. */
export async function isFreeOnceAnswered(lock: Mutex): Promise<boolean> {
  for (;;) {
    try {
      return (await lock.tryLock()) !== undefined;
    } catch {
      // There is no server yet.
    }
  }
}
