import { SafeCaller } from "gopark/http";
const mode = process.argv[2]; const N = Number(process.argv[3] ?? 20000);
// no network: a fetch that answers at once with a real Response.
const fetchy = async (url, init) => new Response("hello");
const caller = new SafeCaller({ fetch: fetchy });
const calls = {
  plain: async () => (await fetchy("http://a.example/", { signal: AbortSignal.timeout(10000) })).text(),
  safe: async () => (await caller.fetch("http://a.example/")).text(),
};
const run = async (n, call) => { let left = n; await Promise.all(Array.from({length: 8}, async () => { while (left-- > 0) await call(); })); };
await run(3000, calls[mode]);
const b = process.cpuUsage(); await run(N, calls[mode]); const { user, system } = process.cpuUsage(b);
console.log(mode, ((user + system) / N).toFixed(1), "µs");
