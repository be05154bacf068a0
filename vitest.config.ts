import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const src = fileURLToPath(new URL("src/", import.meta.url));

export default defineConfig({
  resolve: {
    // The sources stand in for the built package, wherever a test or an example imports `gopark`.
    alias: [
      { find: /^gopark$/, replacement: `${src}index.ts` },
      { find: /^gopark\/(?!package\.json)(.*)$/, replacement: `${src}$1.ts` },
    ],
  },
  test: {
    include: ["test/**/*.test.ts"],
    // These need what `npm run consumers`, `redis`, `http`, `observe` and `runtimes` install.
    exclude: [
      "test/consumers/**",
      "test/fleet/**",
      "test/http/**",
      "test/observe/**",
      "test/runtimes/**",
      "**/node_modules/**",
    ],
    setupFiles: ["test/support/mapstacks.ts", "test/setup.ts"],
    globalSetup: ["test/support/build.ts"],
    execArgv: ["--expose-gc"],
    pool: "forks",
    // By default Vitest leaves one processor free: of two, that is half.
    maxWorkers: "100%",
    testTimeout: 60_000,
    // The figures that .ci/run reports.
    reporters: process.env.CI ? ["default", ["json", { outputFile: ".build/tests.json" }]] : ["default"],
  },
});
