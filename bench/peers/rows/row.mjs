/** What the rows share. Counts are those of bench/*.bench.ts and bench/go. */
export const N = 5000;
export const SUM = (N * (N - 1)) / 2;

export function check(got, want) {
  if (got !== want) throw new Error(`wrong result: ${got} instead of ${want}`);
}

/**
 * The rows of a channel, for those who can `make(capacity)` one with `send(ch, value)` and `receive(ch)`, which are awaited.
 * `unbuffered` is false where there is no such channel.
 */
export function channelRows(peer, { make, send, receive, unbuffered = true }) {
  async function stream(capacity) {
    const ch = make(capacity);
    const receiving = (async () => {
      let sum = 0;
      for (let i = 0; i < N; i++) sum += await receive(ch);
      return sum;
    })();
    receiving.catch(() => {}); // Told below, when the sender is through.
    for (let i = 0; i < N; i++) await send(ch, i);
    check(await receiving, SUM);
  }

  async function pingPong() {
    const a = make(0);
    const b = make(0);
    const echoing = (async () => {
      for (let i = 0; i < N; i++) await send(b, await receive(a));
    })();
    let sum = 0;
    for (let i = 0; i < N; i++) {
      await send(a, i);
      sum += await receive(b);
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
    for (let i = 0; i < N; i++) sum += await receive(ch);
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
