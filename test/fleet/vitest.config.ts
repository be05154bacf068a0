/** The tests with Redis, and with clients of other projects: `npm run redis`. */
import base from "../../vitest.config.ts";

export default {
  resolve: base.resolve,
  test: {
    include: ["test/fleet/**/*.test.ts"],
    setupFiles: ["test/setup.ts"],
    globalSetup: ["test/support/build.ts"],
    execArgv: ["--expose-gc"],
    pool: "forks",
    // Each file starts servers and processes of its own.
    fileParallelism: false,
    testTimeout: 120_000,
  },
};
