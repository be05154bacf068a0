const dist = process.argv[4] ?? "./dist";
const { SafeCaller } = await import(`${dist}/http.js`);
const fetchy = async (url, init) => new Response("hello");
const fetchn = async (url, init) => new Response(null);
const c = new SafeCaller({ fetch: fetchy }), cn = new SafeCaller({ fetch: fetchn });
const url = "http://127.0.0.1:8080/path";
const calls = {
  bare: async () => (await fetchy(url)).text(),
  timeout: async () => (await fetchy(url, { signal: AbortSignal.timeout(10000) })).text(),
  own: async () => { const c = new AbortController(); return (await fetchy(url, { signal: c.signal })).text() },
  safe: async () => (await c.fetch(url)).text(),
  bareNull: async () => await fetchn(url),
  safeNull: async () => await cn.fetch(url),
};
const run = async (n, call) => { let left = n; await Promise.all(Array.from({length: 8}, async () => { while (left-- > 0) await call(); })); };
const modes = Object.keys(calls); const res = {};
const R = Number(process.argv[2] ?? 40), N = Number(process.argv[3] ?? 1000);
for (let r = -5; r < R; r++) for (let i = 0; i < modes.length; i++) { const m = modes[(i + r + 100) % modes.length]; const b = process.cpuUsage(); await run(N, calls[m]); const { user, system } = process.cpuUsage(b); if (r>=0) (res[m] ??= []).push((user+system)/N); }
const med = (a) => [...a].sort((x,y)=>x-y)[a.length>>1];
for (const m of modes) console.log(m.padEnd(12), "cpu", med(res[m]).toFixed(1), "min", (Math.min(...res[m])).toFixed(1));
process.exit();
