/** The tests with Redis, and with clients of other projects: `npm run redis`. */

const conditions = ["gopark-source", "node", "import", "module", "default"];

export default {
  resolve: { conditions },
  ssr: { resolve: { conditions } },
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
