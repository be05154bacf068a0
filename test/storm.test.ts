/**
 * The random cancellation storm, over twenty thousand operations here and a million by `npm run storm`. It prints
 * its seed; `SEED=7 npx vitest run test/storm.test.ts` repeats one.
 */
import { counters } from "gopark/leak";
import { expect, test, vi } from "vitest";
import { storm, TOKENS } from "./support/storm.ts";
import { turn } from "./support/turn.ts";

// A page has no process.
const env = globalThis.process?.env ?? {};
const seed = Number(env.SEED ?? 20261123);
const operations = Number(env.OPERATIONS ?? 20_000);

test(`a storm of ${operations} operations loses nothing and leaves nothing, SEED=${seed}`, {
  timeout: 600_000,
}, async () => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "performance", "Date"] });
  const { done, over } = storm(seed, operations);
  let ledger: Awaited<typeof over> | undefined;
  let failure: { readonly error: unknown } | undefined;
  over.then(
    (l) => {
      ledger = l;
    },
    (error: unknown) => {
      failure = { error };
    },
  );

  let printed = 0;
  while (ledger === undefined) {
    if (failure !== undefined) throw failure.error; // The other tasks would wait for ever.
    await turn();
    vi.advanceTimersByTime(1);
    const n = [...done.values()].reduce((a, b) => a + b, 0);
    if (n - printed >= operations / 10) {
      printed = n;
      console.log(`storm, seed ${seed}: ${n} of ${operations} operations`);
    }
  }
  const { sent, received, semaphores, desks, mutex, rw, keyed, workers, budget, retried } = ledger;
  const { breaker, trips, shelf, inputs, updated, counts } = ledger;
  console.log(`storm, seed ${seed}:`, Object.fromEntries(done), `${sent.size} values sent`);

  expect(new Set(received).size, "a value came out twice").toBe(received.length);
  expect(received.toSorted((a, b) => a - b)).toEqual([...sent].sort((a, b) => a - b));
  expect(semaphores.map((s) => [s.held(), s.waiting()])).toEqual(semaphores.map(() => [0, 0]));
  expect(desks.out(), "desks not given back").toBe(0);
  expect([mutex.tryLock(), rw.tryLock(), keyed.len()], "locks still held").toEqual([true, true, 0]);
  mutex.unlock();
  rw.unlock();
  expect([workers.running(), workers.waiting()], "tasks of the workers").toEqual([0, 0]);
  expect(retried).toBeGreaterThan(0);
  expect(budget.tokens(), "tokens not given back").toBe(TOKENS - retried);
  expect(trips).toBeGreaterThan(0);
  const { requests, totalSuccesses, totalFailures, totalExclusions } = breaker.counts();
  expect(requests, "calls whose end the breaker has not counted").toBe(
    totalSuccesses + totalFailures + totalExclusions,
  );
  expect(shelf.pieces, "pieces lost on the shelf").toBe(shelf.left);
  expect(inputs, "inputs of pipelines left open").toBe(0);
  expect(new Map(counts), "updates lost").toEqual(new Map(updated));
  expect(Object.entries(counters()).filter(([, n]) => n !== 0)).toEqual([]);
});
