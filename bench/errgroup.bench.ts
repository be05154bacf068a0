/** Tasks and groups of tasks, beside bare promises and Go's figures. */
import { errgroup, go } from "gopark";
import { check, compare } from "./support/compare.ts";

const N = 2_000;

await compare("go and errgroup", [
  {
    name: "go + done",
    ops: N,
    floor: async () => {
      let n = 0;
      for (let i = 0; i < N; i++) {
        await Promise.resolve().then(async () => {
          n++;
        });
      }
      check(n, N);
    },
    ours: async () => {
      let n = 0;
      for (let i = 0; i < N; i++) {
        await go(async () => {
          n++;
        });
      }
      check(n, N);
    },
    go: [795, 0.4],
  },
  {
    name: "errgroup of 100 tasks (whole)",
    ops: N / 100,
    floor: async () => {
      let n = 0;
      for (let i = 0; i < N / 100; i++) {
        await Promise.all(
          Array.from({ length: 100 }, async () => {
            n++;
          }),
        );
      }
      check(n, N);
    },
    ours: async () => {
      let n = 0;
      for (let i = 0; i < N / 100; i++) {
        const g = new errgroup.Group();
        for (let t = 0; t < 100; t++) {
          void g.go(async () => {
            n++;
          });
        }
        await g.wait();
      }
      check(n, N);
    },
    go: [16_300, 1],
  },
]);
