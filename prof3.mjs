import { SafeCaller } from "gopark/http";
import { fork } from "node:child_process"; import { once } from "node:events";
const s = fork(new URL("./.build/bench/http/server.js", import.meta.url), [], { execArgv: [] }); const [port] = await once(s, "message");
const url = `http://127.0.0.1:${port}/`;
const caller = new SafeCaller();
const calls = {
  plain: async () => (await fetch(url, { signal: AbortSignal.timeout(10000) })).text(),
  plain2: async () => (await fetch(url, { signal: AbortSignal.timeout(10000) })).text(),
  own: async () => { const c = new AbortController(); return (await fetch(url, { signal: c.signal })).text() },
  bare: async () => (await fetch(url)).text(),
  safe: async () => (await caller.fetch(url)).text(),
};
const run = async (n, call) => { let left = n; await Promise.all(Array.from({length: 8}, async () => { while (left-- > 0) await call(); })); };
const modes = Object.keys(calls); const res = {}; const usr = {};
const R = Number(process.argv[2] ?? 40), N = Number(process.argv[3] ?? 300);
for (let r = -3; r < R; r++) for (let i = 0; i < modes.length; i++) { const m = modes[(i + r + 100) % modes.length]; const b = process.cpuUsage(); await run(N, calls[m]); const { user, system } = process.cpuUsage(b); if (r>=0) { (res[m] ??= []).push((user+system)/N); (usr[m] ??= []).push(user/N); } }
const med = (a) => [...a].sort((x,y)=>x-y)[a.length>>1];
for (const m of modes) console.log(m.padEnd(8), "cpu", med(res[m]).toFixed(1), "ratio", med(res[m].map((v,i)=>v/res.plain[i])).toFixed(3), "user", med(usr[m]).toFixed(1), "ratio", med(usr[m].map((v,i)=>v/usr.plain[i])).toFixed(3), "min ratio", (Math.min(...res[m])/Math.min(...res.plain)).toFixed(3));
s.disconnect();
