/**
 * Those that call, by name: a function that makes a caller, which takes a URL and resolves to the text of a 200. Each
 * is set up with what its documentation has for timeouts, retries and breakers, as far as it has them: half a second
 * for an attempt, two more attempts after the first, a second in all. None is asked for more than it offers.
 */

class Unsuccessful extends Error {}

/** Calls with fetch; any other status than 200 is an error. */
async function fetchText(url, signal) {
  const res = await fetch(url, { signal });
  const text = await res.text();
  if (!res.ok) throw new Unsuccessful(`${res.status}`);
  return text;
}

export const callers = {
  "fetch + AbortSignal.timeout": async () => (url) => fetchText(url, AbortSignal.timeout(1000)),

  got: async () => {
    const { default: got } = await import("got");
    const client = got.extend({ timeout: { request: 500 }, retry: { limit: 2 } });
    return (url) => client(url).text();
  },

  "ky + p-retry": async () => {
    const [{ default: ky }, { default: pRetry }] = await Promise.all([import("ky"), import("p-retry")]);
    const client = ky.create({ timeout: 500, retry: 0 });
    return (url) =>
      pRetry(() => client(url).text(), { retries: 2, minTimeout: 100, randomize: true, maxRetryTime: 1000 });
  },

  cockatiel: async () => {
    const c = await import("cockatiel");
    const policy = c.wrap(
      c.retry(c.handleAll, { maxAttempts: 2, backoff: new c.ExponentialBackoff({ initialDelay: 100 }) }),
      c.circuitBreaker(c.handleAll, { halfOpenAfter: 500, breaker: new c.ConsecutiveBreaker(20) }),
      c.bulkhead(32, 64),
      c.timeout(500, c.TimeoutStrategy.Aggressive),
    );
    return (url) => policy.execute(({ signal }) => fetchText(url, signal));
  },

  opossum: async () => {
    const { default: CircuitBreaker } = await import("opossum");
    // An abort for each call, as the breaker's own timeout leaves the call running.
    const breaker = new CircuitBreaker((url) => fetchText(url, AbortSignal.timeout(500)), {
      timeout: 500,
      errorThresholdPercentage: 50,
      resetTimeout: 500,
      capacity: 32,
    });
    return (url) => breaker.fire(url);
  },

  "gopark/http": async () => {
    const { SafeCaller } = await import("../../../dist/http.js");
    const caller = new SafeCaller({ timeout: 1000, retry: { attempts: 3 } });
    return async (url) => {
      const res = await caller.fetch(url);
      const text = await res.text();
      if (!res.ok) throw new Unsuccessful(`${res.status}`);
      return text;
    };
  },
};
