import { fork } from "node:child_process"; import { once } from "node:events"; import { cpSync, readFileSync, writeFileSync, rmSync } from "node:fs";
const A="internal/http/attempt.js", B="internal/http/body.js";
const variants = {
  base: [],
  nowatch: [[A, "if (isWatchable(response))", "if (false)"]],
  noCL: [[B, '|| response.headers.get("content-length") === "0"', ""]],
  nodef_text: [[B, "Object.defineProperties(response, shadows(response));", "Object.defineProperty(response, 'text', SHADOWS.text);"]],
  noread: [[B, "if (response.bodyUsed || originalBody(response).locked || isShownLocked(response)) {", "if (false) {"]],
};
const s = fork(new URL("./.build/bench/http/server.js", import.meta.url), [], { execArgv: [] }); const [port] = await once(s, "message");
const url = `http://127.0.0.1:${port}/`;
const calls = { plain: async () => (await fetch(url, { signal: AbortSignal.timeout(10000) })).text() };
for (const [name, edits] of Object.entries(variants)) {
  const dir = `/tmp/h/httpbuild/v/${name}`; rmSync(dir, { recursive: true, force: true }); cpSync("dist", dir, { recursive: true });
  for (const [f, a, b] of edits) { const p = `${dir}/${f}`; const t = readFileSync(p, "utf8"); if (!t.includes(a)) throw new Error(name + " " + a); writeFileSync(p, t.replace(a, () => b)); }
  writeFileSync(dir + "/package.json", '{"type":"module"}');
  const { SafeCaller } = await import(`${dir}/http.js`); const c = new SafeCaller(); calls[name] = async () => (await c.fetch(url)).text();
}
await new Promise(r => setTimeout(r, 10));
const run = async (n, call) => { let left = n; await Promise.all(Array.from({length: 8}, async () => { while (left-- > 0) await call(); })); };
const modes = Object.keys(calls); const res = {};
const R = Number(process.argv[2] ?? 40), N = Number(process.argv[3] ?? 200);
for (let r = -3; r < R; r++) for (let i = 0; i < modes.length; i++) { const m = modes[(i + r + 100) % modes.length]; const b = process.cpuUsage(); await run(N, calls[m]); const { user, system } = process.cpuUsage(b); if (r>=0) (res[m] ??= []).push((user+system)/N); }
const med = (a) => [...a].sort((x,y)=>x-y)[a.length>>1];
for (const m of modes) console.log(m.padEnd(12), "cpu", med(res[m]).toFixed(1), "ratio", med(res[m].map((v,i)=>v/res.plain[i])).toFixed(3), "min ratio", (Math.min(...res[m])/Math.min(...res.plain)).toFixed(3));
s.disconnect();
