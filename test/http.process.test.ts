/** A pending call does not keep the process alive by its deadline; one that waits for a slot or a retry does. */
import { expect, test } from "vitest";
import { child } from "./support/child.ts";

const HOUR = 3_600_000;
const IMPORT = 'const { SafeCaller } = await import("gopark/http");';

test.each([
  [
    "a request that is never answered",
    `void new SafeCaller({ timeout: ${HOUR}, fetch: () => new Promise(() => {}) }).fetch("http://a.example");`,
  ],
  [
    "a body that nobody reads",
    `globalThis.kept = await new SafeCaller({ timeout: ${HOUR}, fetch: async () => new Response("x") }).fetch("http://a.example");`,
  ],
  ["an idle caller", `globalThis.kept = new SafeCaller({ breaker: {}, rate: { limit: 1, burst: 1 }, retry: {} });`],
])("a process exits at once with %s", async (_, code) => {
  expect(await child(`${IMPORT} ${code} console.log("end");`)).toEqual(["end"]);
});

test("a process stays for a call that waits for a slot, or for its next attempt", async () => {
  const lines = await child(`${IMPORT}
    const url = "http://a.example";
    const one = new SafeCaller({ perHost: 1, queueTimeout: 20, timeout: ${HOUR}, fetch: () => new Promise(() => {}) });
    void one.fetch(url);
    one.fetch(url).catch((err) => console.log(err.name));
    let n = 0;
    const fetch = async () => {
      if (++n === 1) throw new TypeError("fetch failed", { cause: Object.assign(new Error(), { code: "ECONNREFUSED" }) });
      return new Response(null);
    };
    new SafeCaller({ retry: { base: 10 }, fetch }).fetch(url).then((response) => console.log(response.status));
  `);
  expect(lines.sort()).toEqual(["200", "QueueTimeoutError"]);
});
