/** The tests with frameworks and clients of other projects: `npm run http`. */
import { fileURLToPath } from "node:url";

// Without "import", which would make an ES module of what Express requires.
const conditions = ["node", "default"];

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

// The demo service is in a package of its own, which has neither a built library nor Fastify here.
const alias = [
  { find: /^fastify$/, replacement: here("node_modules/fastify/fastify.js") },
  { find: /^gopark$/, replacement: here("../../src/index.ts") },
  { find: /^gopark\/(.+)$/, replacement: here("../../src/$1.ts") },
];

export default {
  resolve: { conditions, alias },
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
