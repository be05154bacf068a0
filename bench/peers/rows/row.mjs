/** What the rows share. The counts equal those of bench/*.bench.ts and bench/go. */
export const N = 5000;
export const SUM = (N * (N - 1)) / 2;

export const TASKS = 100;
export const LIMIT = 10;
export const DONE = Promise.resolve();
export const items = Array.from({ length: 100_000 }, (_, i) => i);

export function check(got, want) {
  if (got !== want) throw new Error(`wrong result: ${got} instead of ${want}`);
}

/** Throws unless each of `items` is doubled, and in its place. */
export function checkDoubled(results) {
  check(results.length, items.length);
  let wrong = 0;
  for (let i = 0; i < items.length; i++) if (results[i] !== items[i] * 2) wrong++;
  check(wrong, 0);
}

/**
 * Throws unless `map(items, fn)` runs `limit` calls at once and never more, with calls of a turn each. Call it once,
 * untimed: the row's own function ends in the call that starts it, so the row itself cannot see more than one running.
 */
export async function atMost(limit, map) {
  let running = 0;
  let most = 0;
  await map(items.slice(0, 20 * limit), async (n) => {
    most = Math.max(most, ++running);
    await new Promise((resolve) => setImmediate(resolve));
    running--;
    return n;
  });
  check(most, limit);
}

/**
 * The rows of a peer's channel: `make(capacity)` creates one, and `send(ch, value)` and `receive(ch)` are awaited.
 * `unwrap` takes the value out of what was received; do not do that in an async `receive`, which would cost the peer
 * more microtasks. `unbuffered` is false if the peer has no unbuffered channel.
 */
export function channelRows(peer, { make, send, receive, unwrap = (received) => received, unbuffered = true }) {
  async function stream(capacity) {
    const ch = make(capacity);
    const receiving = (async () => {
      let sum = 0;
      for (let i = 0; i < N; i++) sum += unwrap(await receive(ch));
      return sum;
    })();
    receiving.catch(() => {}); // Thrown below, after the last send.
    for (let i = 0; i < N; i++) await send(ch, i);
    check(await receiving, SUM);
  }

  async function pingPong() {
    const a = make(0);
    const b = make(0);
    const echoing = (async () => {
      for (let i = 0; i < N; i++) await send(b, unwrap(await receive(a)));
    })();
    let sum = 0;
    for (let i = 0; i < N; i++) {
      await send(a, i);
      sum += unwrap(await receive(b));
    }
    await echoing;
    check(sum, SUM);
  }

  async function fanIn() {
    const ch = make(0);
    const each = N / 100;
    const sending = Array.from({ length: 100 }, async () => {
      for (let i = 0; i < each; i++) await send(ch, i);
    });
    let sum = 0;
    for (let i = 0; i < N; i++) sum += unwrap(await receive(ch));
    await Promise.all(sending);
    check(sum, (100 * each * (each - 1)) / 2);
  }

  const rows = [{ row: "chan.buffered", peer, ops: N, run: () => stream(128) }];
  if (unbuffered) {
    rows.push(
      { row: "chan.pingpong", peer, ops: N, run: pingPong },
      { row: "chan.stream", peer, ops: N, run: () => stream(0) },
      { row: "chan.fanin", peer, ops: N, run: fanIn },
    );
  }
  return rows;
}
