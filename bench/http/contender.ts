/** One contender of the comparison, in a process of its own. It runs a batch of calls whenever it is asked. */
import { SafeCaller, type SafeCallerOptions } from "gopark/http";

const BATCH = 500;
const AT_ONCE = 8;

type Call = (url: string) => Promise<unknown>;
type Read = (response: Response) => Promise<unknown>;

const text: Read = (response) => response.text();

const streamed: Read = async (response) => {
  for await (const _ of response.body as AsyncIterable<Uint8Array>);
};

const bySignal =
  (read: Read): Call =>
  async (url) =>
    read(await fetch(url, { signal: AbortSignal.timeout(10_000) }));

function byCaller(read: Read, options: SafeCallerOptions = {}): Call {
  const caller = new SafeCaller(options);
  return async (url) => read(await caller.fetch(url));
}

const CALLS: Record<string, Call> = {
  bare: async (url) => text(await fetch(url)),
  signal: bySignal(text),
  again: bySignal(text),
  safe: byCaller(text),
  more: byCaller(text, { retry: {}, breaker: {}, rate: { limit: 1e6, burst: 1e6 } }),
  phases: byCaller(text, { phases: true }),
  signalStream: bySignal(streamed),
  safeStream: byCaller(streamed),
};

const [name = "", url = ""] = process.argv.slice(2);
const call = CALLS[name];
if (call === undefined) throw new Error(`no contender "${name}"`);
const send = (message: unknown): unknown => process.send?.(message);

// Counted without a gap, so that what a batch leaves to be done later is counted with the next one.
let counted = process.cpuUsage();

process.on("message", async () => {
  let left = BATCH;
  const lane = async (): Promise<void> => {
    while (left-- > 0) await call(url);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, lane));
  const now = process.cpuUsage();
  send((now.user - counted.user + now.system - counted.system) / BATCH);
  counted = now;
});
process.on("disconnect", () => process.exit());
send("ready");
