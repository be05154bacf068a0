import { SafeCaller } from "gopark/http";
import { fork } from "node:child_process"; import { once } from "node:events";
const s = fork(new URL("./.build/bench/http/server.js", import.meta.url), [], { execArgv: [] }); const [port] = await once(s, "message");
const url = `http://127.0.0.1:${port}/`;
const caller = new SafeCaller();
const ac = new AbortController();
const calls = {
  plain: async () => (await fetch(url, { signal: AbortSignal.timeout(10000) })).text(),
  own: async () => { const c = new AbortController(); return (await fetch(url, { signal: c.signal })).text() },
  bare: async () => (await fetch(url)).text(),
  safe: async () => (await caller.fetch(url)).text(),
};
const run = async (n, call) => { let left = n; await Promise.all(Array.from({length: 8}, async () => { while (left-- > 0) await call(); })); };
const res = {};
const modes = process.argv[2] ? process.argv[2].split(",") : Object.keys(calls);
const R = Number(process.argv[3] ?? 12), N = Number(process.argv[4] ?? 1000);
for (let r = -2; r < R; r++) for (const m of modes) { const b = process.cpuUsage(); await run(N, calls[m]); const { user, system } = process.cpuUsage(b); if (r>=0) (res[m] ??= []).push((user+system)/N); }
const med = (a) => a.sort((x,y)=>x-y)[a.length>>1];
for (const m of modes) console.log(m.padEnd(8), med(res[m]).toFixed(1), "min", Math.min(...res[m]).toFixed(1));
s.disconnect();
