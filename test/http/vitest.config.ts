/** The tests with frameworks and clients of other projects: `npm run http`. */

// Without "import", which would make an ES module of what Express requires.
const conditions = ["gopark-source", "node", "default"];

export default {
  resolve: { conditions },
  ssr: { resolve: { conditions } },
  test: {
    include: ["test/http/**/*.test.ts"],
    setupFiles: ["test/setup.ts"],
    globalSetup: ["test/support/build.ts"],
    execArgv: ["--expose-gc"],
    pool: "forks",
    testTimeout: 60_000,
  },
};
