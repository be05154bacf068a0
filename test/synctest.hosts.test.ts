/** Bubbles in processes of their own, on the built package: other hosts, two copies, a bundle, the end of a process. */
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { bundle, install, node, type Project, project } from "./support/hosts.ts";

let home: Project;

beforeAll(() => {
  home = project();
  install(join(home.path, "other"));
});
afterAll(() => home.remove());

let programs = 0;

/** Runs a program, with `host` run before the package is loaded. */
function run(host: string, program: string) {
  const file = home.write(
    `program-${++programs}.mjs`,
    `${host}
    const { after, Channel, context, go, leak, select, sync, time } = await import("gopark");
    const synctest = await import("gopark/synctest");
    ${program}`,
  );
  return node(home.path, file);
}

/** Sleeps, hand-offs, a deadlock and a seed: the answer is the same on each host. */
const WORKS = `
  const story = async () => {
    const log = [];
    const ch = new Channel();
    await Promise.all([
      go(async () => { for (const n of [1, 2, 3]) await ch.send(n); ch.close(); }),
      go(async () => { for await (const n of ch) { log.push(n); await time.sleep(3_600_000); } }),
      go(async () => { await new Promise((resolve) => setTimeout(resolve, 5)); log.push("timer"); }),
    ]);
    return [log.join(), new Date().toISOString(), performance.now()].join(" ");
  };
  console.log(await synctest.test(story));
  console.log(await synctest.test(story, { seed: 7 }));
  const stuck = new Channel();
  console.log(await synctest.test(() => stuck.receive()).catch((err) => err.message.split("\\n")[0]));
  stuck.close();
  console.log(Date.now() > 1.7e12, performance.now() < 1e6);`;

const WORKED = {
  status: 0,
  err: "",
  out: [
    "1,timer,2,3 2000-01-01T03:00:00.000Z 10800000",
    "1,timer,2,3 2000-01-01T03:00:00.000Z 10800000",
    "deadlock: all goroutines in bubble are blocked",
    "true true",
    "",
  ].join("\n"),
};

test.each([
  ["without setImmediate", "delete globalThis.setImmediate;"],
  ["without setImmediate and MessageChannel", "delete globalThis.setImmediate; delete globalThis.MessageChannel;"],
  ["that does not say what keeps it alive", "delete process.getActiveResourcesInfo;"],
])("works on a host %s", async (_, host) => {
  expect(await run(host, WORKS)).toEqual(WORKED);
});

test("works in a bundle of one file, minified", async () => {
  const entry = home.write("entry.mjs", `export * from "gopark"; export * as synctest from "gopark/synctest";`);
  const file = await bundle(entry, join(home.path, "bundle.mjs"), "esm", true);
  const program = home.write(
    "bundled.mjs",
    `import { Channel, go, leak, synctest, time } from "./bundle.mjs";
    ${WORKS}
    leak.track("full");
    const ch = new Channel();
    const err = await synctest.test(async function main() {
      await go(async function waits() { await ch.receive(); });
    }).catch((err) => err);
    console.log(err.name, /1 chan receive.*made at\\n +at waits \\(.*bundled.mjs/.test(err.message));
    ch.close();`,
  );
  expect(file).toContain("bundle.mjs");
  expect(await node(home.path, program)).toEqual({ ...WORKED, out: `${WORKED.out}DeadlockError true\n` });
});

test("is refused where there is no AsyncLocalStorage, with nothing called or replaced", async () => {
  const { status, out, err } = await run(
    "process.getBuiltinModule = undefined; const { setTimeout: before } = globalThis;",
    `const refused = await synctest.test(() => console.log("called")).catch((err) => err.message);
    console.log(refused, before === setTimeout);
    await time.sleep(1);`,
  );
  expect({ status, out, err }).toEqual({
    status: 0,
    err: "",
    out: "synctest: a bubble needs AsyncLocalStorage: Node from 20.16, Bun, or Deno true\n",
  });
});

test("leaves everything as it was where a global cannot be replaced", async () => {
  const { status, out, err } = await run(
    `Object.defineProperty(globalThis, "Date", { value: Date, writable: false, configurable: false });
    const { setTimeout: before } = globalThis;`,
    `const refused = await synctest.test(() => console.log("called")).catch((err) => err.message);
    console.log(refused, before === setTimeout);
    await time.sleep(1);
    await synctest.wait().catch((err) => console.log(err.message));`,
  );
  expect({ status, err }).toEqual({ status: 0, err: "" });
  expect(out).toBe("Cannot redefine property: Date true\nsynctest.wait: called outside of a bubble\n");
});

test("bubbles of two copies run one after the other", async () => {
  const program = home.write(
    "copies.mjs",
    `import * as one from "gopark";
    import * as synctest from "gopark/synctest";
    import * as two from "./other/node_modules/gopark/dist/index.js";
    import * as other from "./other/node_modules/gopark/dist/synctest.js";
    const log = (name, time) => async () => {
      console.log(name, performance.now());
      await time.sleep(50);
      console.log(name, performance.now());
    };
    await Promise.all([
      synctest.test(log("first", one.time)),
      other.test(log("second", two.time)),
      synctest.test(log("third", one.time)),
    ]);`,
  );
  expect(await node(home.path, program)).toEqual({
    status: 0,
    err: "",
    out: "first 0\nfirst 50\nsecond 0\nsecond 50\nthird 0\nthird 50\n",
  });
});

test("a module that is loaded in a bubble has the host's timers after it", async () => {
  home.write("late.mjs", "export const { setTimeout, Date } = globalThis;");
  const { status, out, err } = await run(
    "",
    `const late = await synctest.test(() => import("./late.mjs"));
    await new Promise((resolve) => late.setTimeout(resolve, 1));
    console.log(new late.Date().getFullYear() > 2020);`,
  );
  expect({ status, out, err }).toEqual({ status: 0, err: "", out: "true\n" });
});

test("a bubble that is stuck keeps the process alive until it says so; a deadlock ends it as any error", async () => {
  const stuck = await run("", `await synctest.test(() => new Promise(() => {}), { stuckMs: 50 });`);
  expect([stuck.status, stuck.out]).toEqual([1, ""]);
  expect(stuck.err).toMatch(
    /Error: synctest: stuck for \d+ ms on what is not of the bubble\n\n1 function of the bubble\n/,
  );
  const deadlocked = await run("", "await synctest.test(() => new Channel().receive());");
  expect([deadlocked.status, deadlocked.out]).toEqual([1, ""]);
  expect(deadlocked.err).toMatch(
    /DeadlockError: deadlock: all goroutines in bubble are blocked\n\n1 chan receive, for 0 ms/,
  );
});

test("timers and intervals that are left keep no process alive", async () => {
  const { status, out, err } = await run(
    "",
    `await synctest.test(() => {
      setTimeout(() => console.log("fired"), 1);
      setInterval(() => console.log("fired"), 1);
      time.afterFunc(1, () => console.log("fired"));
      new time.Ticker(1);
    });
    console.log("end");`,
  );
  expect({ status, out, err }).toEqual({ status: 0, err: "", out: "end\n" });
});

test("a task's error that nobody handles is reported by the host, as anywhere", async () => {
  const { status, out, err } = await run(
    "process.on('unhandledRejection', (err) => console.log('unhandled', err.message));",
    `await synctest.test(async () => {
      void go(() => Promise.reject(new Error("boom")));
      await time.sleep(1);
    });
    console.log("end");`,
  );
  expect({ status, out, err }).toEqual({ status: 0, err: "", out: "unhandled boom\nend\n" });
});
