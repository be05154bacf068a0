/** The tests with projects that use the package: `npm run consumers`. */

// Measures times, so nothing runs beside it.
const ALONE = "test/consumers/cost.test.ts";

const common = {
  pool: "forks",
  testTimeout: 120_000,
  hookTimeout: 120_000,
};

export default {
  test: {
    globalSetup: ["test/support/build.ts"],
    // By default Vitest leaves one processor free: of two, that is half.
    maxWorkers: "100%",
    projects: [
      {
        test: {
          ...common,
          name: "projects",
          include: ["test/consumers/*.test.ts"],
          exclude: [ALONE],
          sequence: { groupOrder: 0 },
        },
      },
      { test: { ...common, name: "cost", include: [ALONE], sequence: { groupOrder: 1 } } },
    ],
  },
};
