import { cpSync, readFileSync, writeFileSync, rmSync } from "node:fs";
const A="internal/http/attempt.js", B="internal/http/body.js";
const variants = {
  base: [],
  nowatch: [[A, "if (isWatchable(response))", "if (false)"]],
  noCL: [[B, '|| response.headers.get("content-length") === "0"', ""]],
  nodef_text: [[B, "Object.defineProperties(response, shadows(response));", "Object.defineProperty(response, 'text', SHADOWS.text);"]],
  assign: [[B, "Object.defineProperties(response, shadows(response));", "response.text = SHADOWS.text.value;response.json = SHADOWS.json.value;response.clone = SHADOWS.clone.value;response.blob = SHADOWS.blob.value;response.formData = SHADOWS.formData.value;response.arrayBuffer = SHADOWS.arrayBuffer.value; Object.defineProperty(response, 'body', SHADOWS.body)"]],
  noreg: [[B, "registry.register(response, branch, branch);", ""], [B, "registry.unregister(branch);", ""]],
};
const fetchy = async () => new Response("hello");
const calls = {};
for (const [name, edits] of Object.entries(variants)) {
  const dir = `/tmp/h/httpbuild/w/${name}`; rmSync(dir, { recursive: true, force: true }); cpSync("dist", dir, { recursive: true });
  for (const [f, a, b] of edits) { const p = `${dir}/${f}`; const t = readFileSync(p, "utf8"); if (!t.includes(a)) throw new Error(name + " " + a); writeFileSync(p, t.replace(a, () => b)); }
  writeFileSync(dir + "/package.json", '{"type":"module"}');
  const { SafeCaller } = await import(`${dir}/http.js`); const c = new SafeCaller({ fetch: fetchy }); calls[name] = async () => (await c.fetch("http://127.0.0.1:8080/")).text();
}
const run = async (n, call) => { let left = n; await Promise.all(Array.from({length: 8}, async () => { while (left-- > 0) await call(); })); };
const modes = Object.keys(calls); const res = {};
const R = Number(process.argv[2] ?? 30), N = Number(process.argv[3] ?? 1000);
for (let r = -3; r < R; r++) for (let i = 0; i < modes.length; i++) { const m = modes[(i + r + 100) % modes.length]; const b = process.cpuUsage(); await run(N, calls[m]); const { user, system } = process.cpuUsage(b); if (r>=0) (res[m] ??= []).push((user+system)/N); }
const med = (a) => [...a].sort((x,y)=>x-y)[a.length>>1];
for (const m of modes) console.log(m.padEnd(12), "cpu", med(res[m]).toFixed(1), "diff", med(res[m].map((v,i)=>v-res.nowatch[i])).toFixed(1), "min", (Math.min(...res[m])).toFixed(1));
