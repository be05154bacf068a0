/** The tests with programs and clients of other projects: `npm run observe`. */
import base from "../../vitest.config.ts";

// Without "module", which OpenTelemetry has files for that only a bundler can load.
const conditions = ["node", "import", "default"];

export default {
  resolve: { alias: base.resolve?.alias, conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["test/observe/**/*.test.ts"],
    setupFiles: ["test/setup.ts"],
    globalSetup: ["test/support/build.ts"],
    execArgv: ["--expose-gc"],
    pool: "forks",
    testTimeout: 60_000,
  },
};
