import { defineConfig } from "vitest/config";

// The sources stand in for the built package, wherever a test or an example imports `gopark`.
const conditions = ["gopark-source", "node", "import", "module", "default"];

export default defineConfig({
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["test/**/*.test.ts"],
    // These need what `npm run http`, `npm run observe` and `npm run runtimes` install.
    exclude: ["test/http/**", "test/observe/**", "test/runtimes/**", "**/node_modules/**"],
    setupFiles: ["test/setup.ts"],
    globalSetup: ["test/support/build.ts"],
    execArgv: ["--expose-gc"],
    pool: "forks",
    testTimeout: 60_000,
    // The figures that .ci/run reports.
    reporters: process.env.CI ? ["default", ["json", { outputFile: ".build/tests.json" }]] : ["default"],
  },
});
