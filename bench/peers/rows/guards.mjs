/** opossum, cockatiel and p-retry. */
import { ConsecutiveBreaker, circuitBreaker, handleAll } from "cockatiel";
import CircuitBreaker from "opossum";
import pRetry from "p-retry";
import { check, N } from "./row.mjs";

const down = new Error("down");
const work = async () => 1;
const fail = () => Promise.reject(down);

async function calls(execute) {
  let n = 0;
  for (let i = 0; i < N; i++) n += await execute();
  check(n, N);
}

async function refusals(execute) {
  let refused = 0;
  for (let i = 0; i < N; i++) {
    try {
      await execute();
    } catch {
      refused++;
    }
  }
  check(refused, N);
}

async function opossumClosed() {
  const cb = new CircuitBreaker(work, { timeout: false });
  await calls(() => cb.fire());
  cb.shutdown();
}

async function opossumOpen() {
  const cb = new CircuitBreaker(work, { timeout: false });
  cb.open();
  await refusals(() => cb.fire());
  cb.shutdown();
}

const consecutive = () => circuitBreaker(handleAll, { halfOpenAfter: 60_000, breaker: new ConsecutiveBreaker(6) });

async function cockatielClosed() {
  const cb = consecutive();
  await calls(() => cb.execute(work));
}

async function cockatielOpen() {
  const cb = consecutive();
  for (let i = 0; i < 6; i++) await cb.execute(fail).catch(() => {});
  await refusals(() => cb.execute(work));
}

async function pRetryFirst() {
  await calls(() => pRetry(work, { retries: 2, randomize: true }));
}

export const rows = [
  { row: "breaker.closed", peer: "opossum", ops: N, run: opossumClosed },
  { row: "breaker.closed", peer: "cockatiel", ops: N, run: cockatielClosed },
  { row: "breaker.open", peer: "opossum", ops: N, run: opossumOpen },
  { row: "breaker.open", peer: "cockatiel", ops: N, run: cockatielOpen },
  { row: "retry.first", peer: "p-retry", ops: N, run: pRetryFirst },
];
