/** The tests with other runtimes: `npm run runtimes`. */
import base from "../../vitest.config.ts";

export default {
  resolve: base.resolve,
  test: {
    include: ["test/runtimes/**/*.test.ts"],
    setupFiles: ["test/setup.ts"],
    globalSetup: ["test/support/build.ts"],
    execArgv: ["--expose-gc"],
    pool: "forks",
    testTimeout: 90_000,
  },
};
