/** `using` and `await using` of the hosts themselves, not the compiler's, on everything that has them. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Project, project } from "../support/hosts.ts";
import { programs } from "./hosts.ts";

const PROGRAM = `
import { context, errgroup, pipeline, pool, semaphore, sync, time } from "gopark";
import { notifyContext } from "gopark/signal";
import { counters } from "gopark/leak";

const bg = context.background();
const ended = [];

async function leaves(name, block) {
  await block();
  const left = Object.entries(counters()).filter(([, n]) => n > 0);
  ended.push(left.length === 0 ? name : name + " leaves " + JSON.stringify(left));
}

await leaves("withCancel", () => { using scope = context.withCancel(bg); });
await leaves("withTimeout", () => { using scope = context.withTimeout(bg, 60_000); });
await leaves("withDeadline", () => { using scope = context.withDeadline(bg, Date.now() + 60_000); });
await leaves("merge", () => {
  using first = context.withCancel(bg);
  using second = context.withCancel(bg);
  using scope = context.merge(first.ctx, second.ctx);
});
await leaves("notifyContext", () => { using scope = notifyContext(bg, "SIGUSR2"); });
await leaves("permit", async () => { using permit = await new semaphore.Weighted(1).permit(bg); });
await leaves("guard", async () => { using guard = await new sync.Mutex().guard(bg); });
await leaves("lease", () => { using lease = new pool.Pool({ create: () => ({}), reset: () => {} }).lease(); });
await leaves("pool", () => { using objects = new pool.Pool({ create: () => ({}), reset: () => {} }); });
await leaves("Timer", () => { using timer = new time.Timer(60_000); });
await leaves("Ticker", () => { using ticker = new time.Ticker(60_000); });
await leaves("afterFunc", () => { using timer = time.afterFunc(60_000, () => {}); });
await leaves("Group", async () => {
  await using group = new errgroup.Group();
  await group.go(() => time.sleep(1));
});
await leaves("stage", async () => {
  await using stage = pipeline.map(bg, [1, 2, 3], (n) => n);
  await stage[Symbol.asyncIterator]().next();
});
console.log(JSON.stringify(ended));
`;

let home: Project;
beforeAll(() => {
  home = project();
  home.write("package.json", '{ "type": "module", "dependencies": { "gopark": "*" } }');
  home.write("using.mjs", PROGRAM);
});
afterAll(() => home.remove());

// Node has the syntax since version 24.
const withSyntax = Object.entries(programs).filter(([name]) => !/Node(,| 22)/.test(name));

test("there are four", () => {
  expect(withSyntax.map(([name]) => name)).toEqual(["Node 24", "Node 26", "Bun", "Deno"]);
});

test.each(withSyntax)("%s", async (_, run) => {
  const ended = JSON.parse(await run(home.path, "using.mjs")) as string[];
  expect(ended.filter((name) => name.includes(" leaves "))).toEqual([]);
  expect(ended).toHaveLength(14);
});
