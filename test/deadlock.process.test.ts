/** Whole processes under `--import gopark/deadlock`: which ends are reported, how, and with which exit code. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { inMarkdown, ROOT } from "./support/examples.ts";
import { node, type Project, project } from "./support/hosts.ts";
import { type Ended, runIn } from "./support/run.ts";

const IMPORT = `
  import { Channel, context, errgroup, go, leak, select, shardmap, singleflight, sync, time, workers } from "gopark";
  import * as deadlock from "gopark/deadlock";
`;
const HEAD = "fatal error: all goroutines are asleep - deadlock!";

type Track = "" | "full" | "tasks";

/** Runs a module to its end. The ages in what it reports are replaced by `N ms`. */
async function end(code: string, track: Track = ""): Promise<Ended> {
  const ended = await runIn({ GOPARK_TRACK: track }, IMPORT + code, "--import", "gopark/deadlock");
  return { ...ended, err: withoutWarning(ended.err).replaceAll(/ \d+ ms/g, " N ms") };
}

/** Without Node's own words about a top-level await that is left pending, from Node 22 on. */
function withoutWarning(err: string): string {
  return err.replace(/^Warning: Detected unsettled top-level await[\s\S]*?\n\s*\^\n*/, "");
}

/** The report of waits that are not recorded. */
const report = (...places: string[]) =>
  [HEAD, ...places, "To see where each of them waits, run with GOPARK_TRACK=full\n"].join("\n\n");

describe("is reported, with exit code 2", () => {
  test.each([
    ["a parked task and an empty loop", "void go(() => new Channel().receive());", "goroutine [chan receive]"],
    ["a top-level await of a channel", "await new Channel().receive();", "goroutine [chan receive]"],
    [
      "a top-level await of a channel, behind a chain of promises",
      "await (async () => { await new Channel().send(1); })();",
      "goroutine [chan send]",
    ],
    [
      "a for await over a channel that nobody closes",
      "for await (const _ of new Channel());",
      "goroutine [chan receive]",
    ],
    [
      "a wait with only an unref'd timer left",
      "const ch = new Channel(); setTimeout(() => ch.trySend(1), 60_000).unref(); await ch.receive();",
      "goroutine [chan receive]",
    ],
    [
      "a wait that is left when the work has ended",
      "void new Channel().receive(); await time.sleep(1);",
      "goroutine [chan receive]",
    ],
    [
      "a wait that is left after beforeExit has started more work",
      "let n = 0; process.on('beforeExit', () => { if (n++ === 0) setTimeout(() => new Channel().receive(), 1); });",
      "goroutine [chan receive]",
    ],
    [
      "a wait, with the code 13 that later Nodes give a top-level await",
      "process.exitCode = 13; void new Channel().receive();",
      "goroutine [chan receive]",
    ],
    [
      "a wait beside a store of the program's own",
      `const { AsyncLocalStorage } = await import("node:async_hooks");
       new AsyncLocalStorage().run(1, () => new Channel().receive());
       await time.sleep(1);`,
      "goroutine [chan receive]",
    ],
  ])("%s", async (_, code, place) => {
    expect(await end(code)).toEqual({ status: 2, out: "", err: report(place) });
  });

  test("kinds and counts, in a process that tracks nothing", async () => {
    const code = `
      const ch = new Channel();
      const mu = new sync.Mutex();
      for (let i = 0; i < 100_000; i++) void ch.receive();
      await mu.lock();
      await mu.lock();`;
    expect(await end(code)).toEqual({
      status: 2,
      out: "",
      err: report("100000 goroutines [chan receive]", "goroutine [mutex lock]"),
    });
  });

  test("by a worker, with its own exit code; the process goes on", async () => {
    const code = `
      import { Worker } from "node:worker_threads";
      const load = "import { Channel } from " + JSON.stringify(import.meta.resolve("gopark")) + ";";
      const parked = "void new Channel().receive();";
      for (const code of [parked, "await new Channel().receive();", "", parked + "process.exit();"]) {
        const worker = new Worker(new URL("data:text/javascript," + encodeURIComponent(load + code)));
        console.log(await new Promise((resolve) => worker.on("exit", resolve)));
      }`;
    const { status, out, err } = await end(code);
    expect([status, out]).toEqual([0, "2\n2\n0\n0\n"]);
    expect(err.split(report("goroutine [chan receive]")).length - 1).toBe(2);
  });

  test("if the module is imported by the program", async () => {
    const code = `${IMPORT} await new Channel().receive();`;
    const { status, err } = await runIn({ GOPARK_TRACK: "" }, code);
    expect([status, withoutWarning(err)]).toEqual([2, report("goroutine [chan receive]")]);
  });
});

describe("is not reported", () => {
  const parked = "void new Channel().receive();";

  test.each([
    ["a program without waits", "await time.sleep(1);", 0],
    ["a foreign promise, which keeps Node's code", "await new Promise(() => {});", 13],
    ["a wait that was cancelled", "const c = AbortSignal.abort(); await new Channel().receive(c).catch(() => {});", 0],
    [
      "a wait that its context's deadline ends",
      `const { ctx } = context.withTimeout(undefined, 20);
       await new Channel().receive(ctx).catch((err) => console.log(err.name === "TimeoutError" ? "" : err));`,
      0,
    ],
    ["process.exit()", `${parked} setTimeout(() => process.exit(), 1);`, 0],
    ["process.exit(0)", `${parked} setTimeout(() => process.exit(0), 1);`, 0],
    ["process.exit(0) at once", `${parked} process.exit(0);`, 0],
    ["process.exit as a reaction", `${parked} Promise.resolve(0).then(process.exit);`, 0],
    ["process.exit(0) in beforeExit", `${parked} process.on("beforeExit", () => process.exit(0));`, 0],
    ["process.exit in beforeExit", `${parked} process.on("beforeExit", process.exit);`, 0],
    [
      "process.exit(0) after what beforeExit has started, in microtasks",
      `${parked} process.on("beforeExit", async () => { await null; process.exit(0); });`,
      0,
    ],
    [
      "process.exit(0) after what beforeExit has started, by the file system",
      `import { stat } from "node:fs";
       ${parked} process.on("beforeExit", () => stat(".", () => process.exit(0)));`,
      0,
    ],
    [
      "a server that is closed",
      `import { createServer } from "node:net";
       const server = createServer().listen(0, () => setTimeout(() => server.close(() => ch.close()), 5));
       const ch = new Channel();
       await ch.receive();`,
      0,
    ],
    [
      "a server that serves",
      `import { createServer } from "node:net";
       createServer().listen(0);
       ${parked} setTimeout(() => process.exit(0), 20).unref();`,
      0,
    ],
    [
      "a wait that beforeExit ends",
      "const ch = new Channel(); void ch.receive(); process.on('beforeExit', () => ch.close());",
      0,
    ],
    ["an exit code of the program's own", `${parked} process.exitCode = 3;`, 3],
  ])("%s", async (_, code, status) => {
    expect(await end(code)).toEqual({ status, out: expect.stringMatching(/^\n?$/), err: "" });
  });

  test("an uncaught error", async () => {
    const { status, err } = await end(`${parked} setTimeout(() => { throw new Error("crash"); }, 1);`);
    expect(status).toBe(1);
    expect(err).toContain("crash");
    expect(err).not.toContain(HEAD);
  });

  test("an error that nobody handles", async () => {
    const { status, err } = await end(`${parked} void go(() => { throw new Error("crash"); });`);
    expect(status).toBe(1);
    expect(err).not.toContain(HEAD);
  });

  test("a killed process", async () => {
    const { status, err } = await end(`${parked} setInterval(() => process.kill(process.pid, "SIGTERM"), 1);`);
    expect([status, err]).toEqual([null, ""]);
  });
});

describe("install", () => {
  test("ignores waits by kind; the others are reported", async () => {
    const code = `
      deadlock.install({ ignore: { kinds: ["chan receive"] } });
      void new Channel().receive();`;
    expect(await end(code)).toEqual({ status: 0, out: "", err: "" });
    expect(await end(`${code} void new Channel().send(1);`)).toEqual({
      status: 2,
      out: "",
      err: report("goroutine [chan send]"),
    });
  });

  test("ignores waits by creator, where their stacks are recorded", async () => {
    const code = `
      function daemon() { void new Channel().receive(); }
      deadlock.install({ ignore: { creators: ["daemon"] } });
      daemon();`;
    expect(await end(code, "full")).toEqual({ status: 0, out: "", err: "" });
    expect(await end(code)).toEqual({ status: 2, out: "", err: report("goroutine [chan receive]") });
    const { status, err } = await end(`${code} void new Channel().receive();`, "full");
    expect([status, err.match(/goroutine/g)?.length]).toEqual([2, 2]); // One is in Go's first line.
  });

  test("ignores what was begun while a function was on the stack", async () => {
    const code = `
      function receive() { void new Channel().receive(); }
      function daemon() { receive(); }
      deadlock.install({ ignore: { anyFunction: [/daemon/g] } });
      daemon(); daemon();`;
    expect(await end(code, "full")).toEqual({ status: 0, out: "", err: "" });
    expect(await end(code)).toEqual({ status: 2, out: "", err: report("2 goroutines [chan receive]") });
    const { status, err } = await end(`${code} receive();`, "full");
    expect([status, err.match(/goroutine/g)?.length]).toEqual([2, 2]);
  });

  test("sets the exit code, of which 0 leaves the process's own", async () => {
    const wait = "await new Channel().receive();";
    const all = await Promise.all([
      end(`deadlock.install({ exitCode: 77 }); ${wait}`),
      end(`deadlock.install({ exitCode: 77 }); deadlock.install(); ${wait}`),
      end(`deadlock.install({ exitCode: 0 }); void ${wait.slice(6)}`),
      end(`deadlock.install({ exitCode: 0 }); ${wait}`),
    ]);
    expect(all.map(({ status }) => status)).toEqual([77, 2, 0, 13]);
    for (const { err } of all) expect(err).toBe(report("goroutine [chan receive]"));
  });

  test("dumps on SIGUSR2, as long as it is told so, and the process goes on", async () => {
    const code = `
      deadlock.install({ dumpOn: "SIGUSR2" });
      deadlock.install({ dumpOn: "SIGUSR2" });
      const ch = new Channel();
      const wait = ch.receive();
      process.once("SIGUSR2", () => {
        deadlock.install();
        console.log(process.listenerCount("SIGUSR2"));
        ch.close();
      });
      process.kill(process.pid, "SIGUSR2");
      const alive = setInterval(() => {}, 1000);
      await wait;
      clearInterval(alive);`;
    expect(await end(code)).toEqual({
      status: 0,
      out: "0\n",
      err: "chan receive: 1\n\ngoroutine [chan receive]\n\nTo see where each of them waits, run with GOPARK_TRACK=full\n",
    });
  });
});

describe("GOPARK_TRACK", () => {
  test("=full: the report has stacks, those of one place together, and where a lock is held from", async () => {
    const code = `
      const ch = new Channel();
      function receiver() { return ch.receive(); }
      async function holder(mu) { await mu.lock(); }
      async function waiter(mu) { await mu.lock(); }
      for (let i = 0; i < 3; i++) void receiver();
      const mu = new sync.Mutex();
      await holder(mu);
      await waiter(mu);`;
    const { status, err } = await end(code, "full");
    expect(status).toBe(2);
    const [head, receivers, lock, hint] = err.split("\n\n");
    expect(head).toBe(HEAD);
    expect(receivers).toMatch(/^3 goroutines \[chan receive, N ms\]:\n {4}at receiver \(/);
    expect(lock).toMatch(
      /^goroutine \[mutex lock, N ms\]:\n {4}at waiter [\s\S]*\nblocked by the call at\n {4}at holder /,
    );
    expect(hint).toBe("To see which of them wait for each other, run with GOPARK_TRACK=tasks\n");
  });

  test("=tasks: track keeps the identity of tasks with every full tracking, unless it is told otherwise", async () => {
    const code = `
      const isOn = () => {
        try {
          deadlock.cycles();
          return "on";
        } catch {
          return "off";
        }
      };
      const levels = [["full"], ["counters"], ["full", {}], ["full", { tasks: false }], ["full", { frames: 3 }], ["sampled"]];
      console.log(isOn(), ...levels.map(([level, options]) => (leak.track(level, options), isOn())));
      leak.track("full", { tasks: true });
      console.log(isOn());`;
    expect((await end(code, "tasks")).out).toBe("on on off on off on off\non\n");
    expect((await end(code, "full")).out).toBe("off off off off off off off\non\n");
  });

  test("=full: what the collector has taken is reported too", async () => {
    const code = `
      import { setFlagsFromString } from "node:v8";
      import { runInNewContext } from "node:vm";
      setFlagsFromString("--expose-gc");
      const gc = runInNewContext("gc");
      function lost() { void new Channel().receive(); }
      lost();
      for (let i = 0; i < 20 && leak.counters()["proved leak"] === 0; i++) {
        gc();
        await new Promise((resolve) => setImmediate(resolve));
      }`;
    const { status, err } = await end(code, "full");
    expect(status).toBe(2);
    expect(err.split("\n\n")[1]).toMatch(
      /^goroutine \[chan receive, collected: nothing could have ended it\]:\n {4}at lost /,
    );
  });

  test("=tasks: identities keep nothing alive that the collector could prove to be leaked", async () => {
    const code = `
      function drop() {
        const mu = new sync.Mutex();
        void go(() => mu.withLock(() => mu.withLock(() => {})));
        const map = new shardmap.ShardMap();
        void map.update("k", () => map.update("k", () => 1));
        const g = new errgroup.Group();
        g.setLimit(1);
        void g.go(() => g.go(() => {}));
        const works = new singleflight.Group();
        void works.do(1, () => works.do(1, () => 1));
        const once = new sync.Once();
        void once.do(() => once.do(() => {}));
        const pool = new workers.Workers(1);
        void pool.submit(() => pool.submit(() => 1));
      }
      const proved = [];
      leak.onProved(({ kind }) => proved.push(kind));
      drop();
      await time.sleep(1);
      for (let i = 0; i < 20 && proved.length < 8; i++) {
        gc();
        await new Promise((resolve) => setImmediate(resolve));
      }
      console.log(proved.sort().join());
      process.exit();`;
    const { out } = await runIn({ GOPARK_TRACK: "tasks" }, IMPORT + code, "--expose-gc");
    // Two callers of the single flight, and the lock with its wait.
    const twice = "singleflight do,singleflight do";
    expect(out).toBe(`errgroup go,held lock,mutex lock,once do,shardmap update,${twice},workers submit\n`);
  });

  test("=full: of many places a hundred are shown, and a reader that is slow gets all of it", async () => {
    const code = `
      process.stderr; // From now on it does not block.
      const name = "f" + "x".repeat(900);
      for (let i = 0; i < 150; i++) {
        const deep = "function " + name + "(n) { return n > 0 ? " + name + "(n - 1) : new ch.constructor().receive(); }";
        new Function("ch", "\\n".repeat(i) + deep + "\\n" + name + "(10)")(new Channel());
      }`;
    const { status, err } = await end(code, "full");
    expect(status).toBe(2);
    expect(err.length).toBeGreaterThan(500_000);
    expect(err.match(/^goroutine /gm)?.length).toBe(100);
    expect(err).toMatch(/\n\nand 50 more places\n\nTo see which[^\n]*\n$/);
  });

  test.each(["counters", ""])("=%s: as without it", async (track) => {
    expect((await end("await new Channel().receive();", track as Track)).err).toBe(report("goroutine [chan receive]"));
  });

  test("of another value is refused when the process starts", async () => {
    const { status, err } = await end("console.log(1)", "FULL" as Track);
    expect(status).toBe(1);
    expect(err).toContain('RangeError: GOPARK_TRACK must be "counters", "full" or "tasks", got "FULL"');
  });

  describe("=tasks: the report names", () => {
    const itself = (kind: string) => [[`[${kind}, N ms]`, "itself"]];

    test.each<[string, string, string[][]]>([
      [
        "two locks that two tasks take in opposite order",
        `const a = new sync.Mutex();
         const b = new sync.RWMutex();
         const take = (first, second) => go(async () => {
           await first.lock();
           await time.sleep(1);
           await second.lock();
         });
         await Promise.all([take(a, b), take(b, a)]);`,
        [
          ["[rwmutex lock, N ms]", "goroutine 2"],
          ["[mutex lock, N ms]", "goroutine 1"],
        ],
      ],
      [
        "an update that is entered again",
        `const map = new shardmap.ShardMap();
         await map.update("k", () => map.update("k", () => 1));`,
        itself("shardmap update"),
      ],
      [
        "a nested go at limit 1",
        `const g = new errgroup.Group();
         g.setLimit(1);
         await g.go(async () => { await g.go(() => {}); });
         await g.wait();`,
        itself("errgroup go"),
      ],
      [
        "a loader that asks for its own key",
        `const map = new shardmap.ShardMap();
         await map.getOrLoad("k", () => map.getOrLoad("k", () => 1));`,
        itself("shardmap load"),
      ],
      [
        "a reader that wants to write",
        `const rw = new sync.RWMutex();
         await go(async () => { await rw.rLock(); await rw.lock(); });`,
        itself("rwmutex lock"),
      ],
      [
        "a lock that is entered again",
        `const mu = new sync.Mutex();
         await mu.withLock(() => mu.withLock(() => {}));`,
        itself("mutex lock"),
      ],
    ])("%s", async (_, code, circle) => {
      const { status, err } = await end(code, "tasks");
      expect(status).toBe(2);
      const cycle = err.slice(err.indexOf("cycle:\n")).trimEnd().split("\n");
      const edges = cycle.slice(1).map((line) => / (\[.*\]) is blocked by (.*)$/.exec(line)?.slice(1));
      expect(edges).toEqual(circle);
      if (circle.length === 1) expect(err).toContain("\nblocked by its own task's call at\n");
      else expect(err).toContain("\nblocked by the call at\n");
    });
  });
});

describe("on another host", () => {
  test("without a process, it cannot be loaded, and says so", async () => {
    const code = `
      const { stdout } = process;
      delete globalThis.process;
      await import("gopark/deadlock").catch((err) => stdout.write(err.message));`;
    expect(await runIn({ GOPARK_TRACK: "" }, code)).toEqual({
      status: 0,
      out: "gopark/deadlock: for Node, or a host with its `process`",
      err: "",
    });
  });

  test("without process.getBuiltinModule, as Node before 20.16, it reports all the same", async () => {
    const code = "delete process.getBuiltinModule; await new Channel().receive();";
    expect(await end(code)).toEqual({ status: 2, out: "", err: report("goroutine [chan receive]") });
  });

  test("with a process.emit of the program's own, stacks of its own, or source maps", async () => {
    const wait = "const ch = new Channel(); void ch.receive();";
    const emit = "const { emit } = process; process.emit = function (...args) { return emit.apply(this, args); };";
    const stacks = "Error.prepareStackTrace = () => [];";
    const quit = "process.on('beforeExit', () => setTimeout(() => process.exit(0), 1));";
    const all = await Promise.all([
      end(`${emit} ${wait}`),
      end(`${emit} ${wait} ${quit}`),
      end(`${stacks} ${wait}`),
      end(`${stacks} ${wait} ${quit}`),
      end(`Error.stackTraceLimit = 0; ${wait}`),
      end(`Error.stackTraceLimit = 0; ${wait} ${quit}`),
      runIn({ GOPARK_TRACK: "tasks" }, IMPORT + wait, "--enable-source-maps", "--import", "gopark/deadlock"),
    ]);
    expect(all.map(({ status }) => status)).toEqual([2, 0, 2, 0, 2, 0, 2]);
  });
});

describe("docs/deadlock.md", () => {
  let home: Project;

  beforeAll(() => {
    home = project();
  });
  afterAll(() => home.remove());
  afterEach(() => vi.unstubAllEnvs());

  const page = readFileSync(join(ROOT, "docs/deadlock.md"), "utf8");
  const programs = inMarkdown("docs/deadlock.md", page).filter(({ run }) => !run);
  const texts = [...page.matchAll(/^```text\n([\s\S]*?)^```$/gm)].map((match) => match[1] as string);

  test.each([
    ["orders.js", 0, "", 0],
    ["orders.js", 0, "full", 1],
    ["transfer.js", 1, "tasks", 2],
  ])("%s prints what the page shows", async (name, program, track, text) => {
    vi.stubEnv("GOPARK_TRACK", track);
    const file = home.write(name.replace(".js", ".mjs"), (programs[program]?.code ?? "").trimStart());
    const { status, out, err } = await node(home.path, "--import", "gopark/deadlock", file);
    const plain = (lines: string) =>
      lines
        .replaceAll(`${pathToFileURL(home.path)}/`, "file:///home/me/")
        .replaceAll(".mjs:", ".js:")
        .replaceAll(/ \d+ ms/g, " N ms");
    expect(status).toBe(2);
    expect(plain(out + withoutWarning(err))).toBe(plain(texts[text] ?? ""));
  });
});
