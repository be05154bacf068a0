/**
 * The test files as JavaScript that any runtime can load, each module a file of its own, as the stacks of leaks tell
 * the library from the program by their folders. vitest is replaced by what stands for it.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { rolldown } from "rolldown";
import { ROOT } from "../support/examples.ts";

const HERE = dirname(fileURLToPath(import.meta.url));

interface Chunk {
  readonly fileName: string;
  readonly facadeModuleId?: string | null;
  readonly imports?: readonly string[];
  readonly dynamicImports?: readonly string[];
}

/** A test file that is ready to run. */
export interface Program {
  /** Runs the tests and prints the Outcome as a line of JSON. */
  readonly path: string;
  /** Node's modules that it imports. */
  readonly modules: readonly string[];
}

/** Builds test files (named as from `test/`) in `folder`. For a page, golden traces come from the page. */
export async function build(files: readonly string[], folder: string, forPage: boolean): Promise<Map<string, Program>> {
  rmSync(folder, { recursive: true, force: true });
  const entries = join(ROOT, ".build/runtimes/entries", forPage ? "page" : "host");
  const input: Record<string, string> = {};
  for (const file of files) {
    const entry = join(entries, file);
    mkdirSync(dirname(entry), { recursive: true });
    writeFileSync(entry, entryOf(file));
    input[file.replace(/\.ts$/, "")] = entry;
  }
  const built = await rolldown({
    input,
    platform: forPage ? "browser" : "node",
    logLevel: "silent",
    external: /^node:/,
    // package.json says that no file but some has an effect by being imported. A test file has.
    treeshake: false,
    transform: { target: "es2022" },
    resolve: {
      alias: {
        vitest: join(HERE, "standin/vitest.ts"),
        ...(forPage && { [join(ROOT, "test/support/golden.ts")]: join(HERE, "standin/golden.ts") }),
      },
      modules: [join(HERE, "node_modules"), join(ROOT, "node_modules")],
    },
    plugins: [sources, whereItWas],
  });
  const { output } = await built.write({
    format: "esm",
    dir: folder,
    preserveModules: true,
    preserveModulesRoot: ROOT,
    // Tests look for their own names in stacks. Node takes no TypeScript from node_modules.
    entryFileNames: ({ name }: { name: string }) => (name.includes("node_modules") ? "[name].mjs" : "[name].ts"),
  });
  await built.close();
  const written: Chunk[] = output.filter((file) => file.type === "chunk");
  const chunks = new Map(written.map((chunk) => [chunk.fileName, chunk]));
  const programs = new Map<string, Program>();
  for (const file of files) {
    const entry = written.find(({ facadeModuleId }) => facadeModuleId === join(entries, file));
    if (entry === undefined) throw new Error(`${file} was not built`);
    programs.set(file, { path: join(folder, entry.fileName), modules: modulesOf(entry, chunks) });
  }
  return programs;
}

function entryOf(file: string): string {
  const path = (of: string) => JSON.stringify(join(ROOT, of));
  return `
    import { run } from ${path("test/runtimes/standin/run.ts")};
    const outcome = run(
      ${JSON.stringify(file)},
      () => import(${path("test/setup.ts")}),
      () => import(${path(`test/${file}`)}),
    );
    outcome
      .catch((error) => ({ passed: 0, skipped: 0, failed: [{ test: "the file", error: String(error?.stack ?? error) }] }))
      .then((outcome) => console.log(JSON.stringify(outcome)))
      // When it has been written. A pipe takes a long line in pieces.
      .then(() => globalThis.process?.stdout.write("", () => process.exit()));
  `;
}

/** Node's modules that a chunk imports, and those that it loads. */
function modulesOf(entry: Chunk, chunks: ReadonlyMap<string, Chunk>): string[] {
  const seen = new Set<string>();
  const visit = ({ imports = [], dynamicImports = [] }: Chunk) => {
    for (const name of [...imports, ...dynamicImports]) {
      if (seen.has(name)) continue;
      seen.add(name);
      const chunk = chunks.get(name);
      if (chunk !== undefined) visit(chunk);
    }
  };
  visit(entry);
  return [...seen].filter((name) => name.startsWith("node:"));
}

/** The sources stand in for the built package. */
const sources = {
  name: "sources",
  resolveId: {
    filter: { id: /^gopark(\/|$)/ },
    handler: (id: string) => join(ROOT, "src", `${id.slice("gopark/".length) || "index"}.ts`),
  },
};

/** `import.meta.url` stays the place of the source: tests read files beside it. */
const whereItWas = {
  name: "where it was",
  transform: {
    filter: { code: /import\.meta\.url/ },
    handler(code: string, id: string) {
      if (relative(ROOT, id).startsWith("..") || id.includes("node_modules")) return null;
      return code.replaceAll("import.meta.url", JSON.stringify(pathToFileURL(id).href));
    },
  },
};
