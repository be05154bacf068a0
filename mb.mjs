const N = 200000; const rs = () => new Response("hello");
const S = {}; for (const n of ["arrayBuffer","blob","formData","json","text","clone"]) S[n] = { value() {}, configurable: true, writable: true }; S.body = { get() {}, configurable: true };
const PROTO = Object.create(Response.prototype, S);
const reg = new FinalizationRegistry(() => {});
const sym = Symbol("x");
class Sub { constructor() { this.a = 1; this.list = new Set(); } }

const t = {
  nothing: (r) => r,
  defineProps: (r) => Object.defineProperties(r, S),
  defineOne: (r) => Object.defineProperty(r, "text", S.text),
  assign6: (r) => { r.text = S.text.value; r.json = S.json.value; r.clone = S.clone.value; r.blob = S.blob.value; r.formData = S.formData.value; r.arrayBuffer = S.arrayBuffer.value; },
  setProto: (r) => Object.setPrototypeOf(r, PROTO),
  sym: (r) => { r[sym] = 1; },
  regUnreg: (r) => { const b = {}; reg.register(r, b, b); reg.unregister(b); },
  reg: (r) => { const b = {}; reg.register(r, b, b); },
  headersGet: (r) => r.headers.get("content-length"),
  body: (r) => r.body,
  bodyUsed: (r) => r.bodyUsed,
  reflect: (r) => Reflect.get(Object.getPrototypeOf(r), "body", r),
  locked: (r) => r.body.locked,
  desc: (r) => Object.getOwnPropertyDescriptor(r, "body"),
  status: (r) => r.status,
  url: () => new URL("http://127.0.0.1:8080/path"),
  ac: () => new AbortController(),
  abortTimeout: () => AbortSignal.timeout(10000),
  set: () => { const s = new Set(); s.add(1); return s; },
  inBytes: (r) => "bytes" in r,
  promise: () => new Promise(() => {}),
  map: (r) => wm.set(r, 1),
};
const wm = new WeakMap();
const M = 3000;
const best = {};
for (let k = 0; k < 12; k++) for (const [n, f] of Object.entries(t)) { const rr = Array.from({ length: M }, rs); const b = performance.now(); for (const r of rr) f(r); const us = (performance.now() - b) * 1000 / M; best[n] = Math.min(best[n] ?? 1e9, us); }
for (const [n, v] of Object.entries(best)) console.log(n.padEnd(12), v.toFixed(3));
process.exit();
