/** `go tool pprof` reads every profile of a running service, over HTTP and from a file. */
import { writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Channel } from "gopark/channel";
import { background, withCancel } from "gopark/context";
import { go } from "gopark/go";
import { counters, track } from "gopark/leak";
import { profile, recordBlocking, recordHeap } from "gopark/pprof";
import { listen, type Server } from "gopark/pprof/node";
import { Weighted } from "gopark/semaphore";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { takeProved } from "../src/internal/track/records.ts";
import { hasGo, pprofTool } from "./support/gotool.ts";
import { turn } from "./support/turn.ts";
import { collectUntil } from "./support/unhandled.ts";

const FORMS = ["-top", "-traces", "-tags", "-raw"] as const;

let server: Server;

beforeAll(async () => {
  server = await listen(0);
});

afterAll(() => server.close());

/** What `go tool pprof` prints of a profile of the service, without what differs from run to run. */
async function read(path: string, ...args: string[]): Promise<string> {
  const printed = await pprofTool(...args, `http://127.0.0.1:${server.port}/debug/pprof/${path}`);
  return printed.replaceAll(/^(Time|Duration|Doc|Comments): .*\n/gm, "");
}

describe.skipIf(!hasGo)("go tool pprof reads", () => {
  let end: () => Promise<void>;

  // Waits and tasks for all to see.
  beforeEach(async () => {
    const ch = new Channel<number>();
    const sem = new Weighted(1);
    const [ctx, cancel] = withCancel(background());
    await sem.acquire(ctx);
    const nextOrder = async () => await ch.receive();
    async function work() {
      await nextOrder();
    }
    const tasks = [0, 1, 2].map(() => go(work));
    const waits = [0, 1].map(function reserve() {
      return sem.acquire(ctx);
    });
    await turn();
    end = async () => {
      cancel();
      sem.release();
      ch.close();
      await Promise.allSettled([...tasks, ...waits]);
    };
  });

  afterEach(() => end());

  test("goroutine, with -top", async () => {
    const top = await read("goroutine", "-top");
    expect(top).toMatch(/^File: javascript\nType: goroutine\nShowing nodes accounting for 5, 100% of 5 total\n/);
    expect(top).toMatch(/^ +3 60\.00% +60\.00% +3 60\.00% +nextOrder$/m);
    expect(top).toMatch(/^ +2 40\.00% +100% +2 40\.00% +reserve$/m);
    expect(top).toMatch(/^ +0 +0% +100% +3 60\.00% +work$/m);
  });

  test("goroutine, with -traces: stacks with their labels", async () => {
    const traces = await read("goroutine", "-traces");
    expect(traces).toMatch(/\n +kind: +chan receive\n +age: +0\n +3 +nextOrder\n +work\n/);
    expect(traces).toMatch(/\n +kind: +semaphore acquire\n +age: +0\n +2 +reserve\n/);
  });

  test("goroutine, with -tags, -tagfocus and -tagroot", async () => {
    const tags = await read("goroutine", "-tags");
    expect(tags).toMatch(/age: Total 5\.0\n +5\.0 \( +100%\): 0\n/);
    expect(tags).toMatch(
      /kind: Total 5\.0\n +3\.0 \( *60\.00%\): chan receive\n +2\.0 \( *40\.00%\): semaphore acquire\n/,
    );
    const focus = await read("goroutine", "-top", "-tagfocus", "kind=semaphore");
    expect(focus).toMatch(/Showing nodes accounting for 2, 40\.00% of 5 total\n/);
    expect(await read("goroutine", "-top", "-tagfocus", "age=:1s")).toMatch(/accounting for 5, 100% of 5 total\n/);
    expect(await read("goroutine", "-top", "-tagfocus", "age=1min:")).toMatch(/accounting for 0, 0% of 5 total\n/);
    expect(await read("goroutine", "-traces", "-tagroot", "kind")).toMatch(/ +work\n( .*\n)*? +chan receive\n/);
  });

  test("goroutine, with -raw: places, and a mapping that says that nothing is left to look up", async () => {
    const raw = await read("goroutine", "-raw");
    expect(raw).toMatch(/^PeriodType: goroutine count\nPeriod: 1\nSamples:\ngoroutine\/count\[dflt\]\n/);
    expect(raw).toMatch(/ nextOrder \/\S+\/test\/pprof\.go\.test\.ts:\d+ s=0\n/);
    expect(raw).toMatch(/Mappings\n1: 0x0\/0x0\/0x0 javascript +\[FN\]\[FL\]\[LN\]\n/);
  });

  test("goroutine, with -list: the source", async () => {
    expect(await read("goroutine", "-list", "nextOrder")).toMatch(/ 3 +3 +\d+:.*const nextOrder = async/);
  });

  test("goroutine, under tracking that was off", async () => {
    track("counters");
    const ch = new Channel<number>();
    const wait = ch.receive();
    track("full");
    expect(await read("goroutine", "-top")).toMatch(/ +1 .*\[no stack: made while tracking was off\]\n/);
    ch.close();
    await wait;
  });

  test("task", async () => {
    expect(await read("task", "-top")).toMatch(/Type: task\nShowing nodes accounting for 3, 100% of 3 total\n/);
  });

  test("goroutineleak, also when it is empty", async () => {
    expect(await read("goroutineleak", "-raw")).toMatch(/Samples:\ngoroutineleak\/count\[dflt\]\n/);
    function forget() {
      void new Channel<number>().receive();
    }
    const before = counters()["proved leak"] as number;
    forget();
    expect(await collectUntil(() => (counters()["proved leak"] as number) > before)).toBe(true);
    expect(await read("goroutineleak", "-traces")).toMatch(/\n +kind: +chan receive\n +leak: +proved\n +1 +forget\n/);
    takeProved(() => true);
  });

  test("block and mutex", async () => {
    const stop = recordBlocking();
    const ch = new Channel<number>();
    const sem = new Weighted(1);
    await sem.acquire(background());
    function blockHere() {
      return Promise.all([ch.receive(), sem.acquire(background())]);
    }
    const blocked = blockHere();
    ch.trySend(1);
    sem.release();
    await blocked;
    sem.release();
    stop();
    const counts = await read("block", "-top", "-sample_index=contentions");
    expect(counts).toMatch(/^File: javascript\nType: contentions\n/);
    expect(counts).toMatch(/ +2 .* blockHere$/m);
    expect(await read("mutex", "-top", "-sample_index=contentions")).toMatch(/ +1 .* blockHere$/m);
    expect(await read("block", "-top")).toMatch(/^File: javascript\nType: delay\n/);
  });

  test("heap", async () => {
    const stop = await recordHeap({ interval: 4096 });
    function keepHere() {
      return Array.from({ length: 1000 }, () => new Array(1000).fill(0));
    }
    const kept = keepHere();
    const top = await read("heap", "-top", "-cum");
    expect(top).toMatch(/^File: javascript\nType: inuse_space\n/);
    expect(top).toMatch(/ [\d.]+[kM]B .* keepHere$/m);
    expect(await read("heap", "-top", "-sample_index=inuse_objects")).toMatch(/Type: inuse_objects\n/);
    expect(kept).toHaveLength(1000);
    stop();
  });

  test("profile", async () => {
    let burning = true;
    // The loop stands in the function itself: one that it called might be compiled into it.
    const done = (async function burnHere() {
      for (let x = 0; burning; await turn()) {
        for (let i = 0; i < 20_000_000; i++) x = (x * 31 + i) % 1_000_003;
      }
    })();
    const top = await read("profile?seconds=0.5", "-top");
    burning = false;
    await done;
    expect(top).toMatch(/^File: javascript\nType: cpu\n/);
    expect(top).toMatch(/ burnHere$/m);
  });

  test.each(["goroutine", "task", "goroutineleak", "block", "mutex", "heap"])(
    "%s in every form, from a file",
    async (name) => {
      const stop = await recordHeap({ interval: 4096 });
      const folder = await mkdtemp(join(tmpdir(), "gopark-profile-"));
      const file = join(folder, `${name}.pb`);
      writeFileSync(file, await profile(name as "goroutine"));
      for (const form of FORMS) {
        const printed = await pprofTool(form, file);
        // A heap profile has no tags.
        if (form !== "-tags" || name !== "heap") expect([form, printed]).not.toEqual([form, ""]);
      }
      await rm(folder, { recursive: true });
      stop();
    },
  );
});
