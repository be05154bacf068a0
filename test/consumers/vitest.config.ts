/** The tests with projects that use the package: `npm run consumers`. */
export default {
  test: {
    include: ["test/consumers/*.test.ts"],
    globalSetup: ["test/support/build.ts"],
    pool: "forks",
    // Each starts processes that use both processors.
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
};
