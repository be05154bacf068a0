/** The tests with HTTP clients and frameworks of other projects: `npm run http`. */

// Without "module", which OpenTelemetry has files for that only a bundler can load.
const conditions = ["gopark-source", "node", "import", "default"];

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
