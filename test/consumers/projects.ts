/** Projects that have the package installed from its tarball, as a user has, and the programs that they consist of. */
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { ROOT } from "../support/examples.ts";

const HERE = dirname(fileURLToPath(import.meta.url));

/** Loads what test/consumers/package.json installs, wherever it is needed. */
export const require: NodeJS.Require = createRequire(import.meta.url);

export interface Project {
  readonly path: string;
  /** Writes a file, and returns its path. A value that is no string is written as JSON. */
  write(name: string, content: unknown): string;
  remove(): void;
}

/** Makes a project and installs the tarball into it. */
export function project(manifest: object = {}): Project {
  const path = realpathSync(mkdtempSync(join(tmpdir(), "gopark-consumer-")));
  const write = (name: string, content: unknown) => {
    const file = join(path, name);
    mkdirSync(dirname(file), { recursive: true });
    writeFileSync(file, typeof content === "string" ? content : JSON.stringify(content));
    return file;
  };
  write("package.json", { name: "consumer", private: true, ...manifest });
  const npm = ["pack", "--json", "--ignore-scripts", "--pack-destination", path];
  const [packed] = JSON.parse(
    execFileSync("npm", npm, { cwd: ROOT, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }),
  );
  const tarball = join(path, packed.filename);
  execFileSync("npm", ["install", "--offline", "--no-audit", "--no-fund", tarball], { cwd: path, stdio: "pipe" });
  return { path, write, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Lets a project import a package of test/consumers, or of the repository. */
export function link({ path }: Project, name: string, from = HERE): void {
  const place = join(path, "node_modules", name);
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(join(from, "node_modules", name), place, "junction");
}

// Far beyond what any of these programs needs.
const HUNG = 100_000;

/** Runs a program to its end, and resolves to what it printed. Rejects, with that, if it fails or hangs. */
export function run(cwd: string, command: string, ...args: string[]): Promise<string> {
  const child = spawn(command, args, { cwd, timeout: HUNG, killSignal: "SIGKILL", env: { ...process.env, CI: "1" } });
  let out = "";
  let err = "";
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (err += chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (status, signal) => {
      if (status === 0) resolve(out);
      else reject(new Error(`${command} ${args.join(" ")} ended with ${status ?? signal}\n${out}${err}`));
    });
  });
}

/** Runs node, the one that runs the tests, and reads the last line that it prints as JSON. */
export async function answer(cwd: string, ...args: string[]): Promise<unknown> {
  return lastOf(await run(cwd, process.execPath, ...args));
}

export function lastOf(printed: string): unknown {
  return JSON.parse(printed.trim().split("\n").at(-1) ?? "");
}

/** The versions of Node besides the one that runs the tests, by what `require` of the package gives. */
export const NODES: Record<string, { path: string; requires: "ES module" | "CommonJS" }> = {
  "Node 20.0": { path: join(HERE, "node_modules/node20.0/bin/node"), requires: "CommonJS" },
  "Node 22.11": { path: join(HERE, "node_modules/node22.11/bin/node"), requires: "CommonJS" },
  "the Node that runs the tests": { path: process.execPath, requires: "ES module" },
  "Node 24": { path: join(HERE, "node_modules/node24/bin/node"), requires: "ES module" },
  "Node 26": { path: join(HERE, "node_modules/node26/bin/node"), requires: "ES module" },
};

export function nodePath(name: string): string {
  const node = NODES[name];
  if (node === undefined) throw new Error(`no ${name} among the versions of Node`);
  return node.path;
}

/** What {@link MAIN} imports, by subpath. */
const IMPORTS: Record<string, readonly string[]> = {
  gopark: ["after", "Channel", "context", "errgroup", "go", "leak", "select", "semaphore", "time"],
  "gopark/semaphore": ["Weighted"],
  "gopark/http": ["SafeCaller"],
  "gopark/admission": ["rateLimit"],
  "gopark/metrics": ["prometheusText"],
  "gopark/trace": ["start"],
};

/** Uses the root and subpaths, of the core and beside it, and what watches them. */
const MAIN = `
async function main() {
  leak.track("full");
  const recording = start();
  const jobs = new Channel(1);
  const { ctx, cancel } = context.withTimeout(context.background(), 60000);
  const task = go(() => jobs.send(6, ctx));
  const s = await select({ job: jobs, stop: ctx, late: after(60000) });
  await task;
  const product = await errgroup.scope(ctx, async (g, inner) => {
    await g.go(() => time.sleep(1, inner));
    return s.value * 7;
  });
  const stock = new Weighted(2, { name: "stock" });
  cancel();
  const refused = await stock.acquire(ctx).catch((err) => err);
  function userWaits() {
    void jobs.receive();
  }
  userWaits();
  const [wait] = leak.find();
  const gauges = prometheusText().split("\\n").filter((line) => /^gopark_(waits{kind="chan receive"|semaphore_size)/.test(line));
  jobs.close();
  const traced = recording.stop().traceEvents.some(({ name }) => name === "chan receive");
  return {
    product,
    same: stock instanceof semaphore.Weighted,
    refused: [refused.name, context.is(refused, context.Canceled), refused === ctx.err()],
    first: wait.stack.split("\\n")[0].trim().split(" ")[1],
    gauges,
    traced,
    others: [typeof SafeCaller, typeof rateLimit],
  };
}
`;

/** What `main` returns. */
export const WANTED: object = {
  product: 42,
  same: true,
  refused: ["AbortError", true, true],
  first: "userWaits",
  gauges: ['gopark_waits{kind="chan receive"} 1', 'gopark_semaphore_size{name="stock"} 2'],
  traced: true,
  others: ["function", "function"],
};

const PRINT = "main().then((answer) => console.log(JSON.stringify(answer)));\n";

const lines = (line: (names: string, from: string) => string) =>
  Object.entries(IMPORTS)
    .map(([from, names]) => line(`{ ${names.join(", ")} }`, from))
    .join("\n");

/** As an ES module: the function alone, for test runners, and as a program that prints what it returns. */
export const ESM_MAIN: string = `${lines((names, from) => `import ${names} from "${from}";`)}\n${MAIN}`;
export const ESM: string = ESM_MAIN + PRINT;

/** The same as CommonJS. */
export const CJS_MAIN: string = `${lines((names, from) => `const ${names} = require("${from}");`)}\n${MAIN}`;
export const CJS: string = CJS_MAIN + PRINT;
