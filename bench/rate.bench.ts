/** The token bucket, beside one reading of the clock and Go's figure. */
import { rate } from "gopark";
import { check, compare } from "./support/compare.ts";

const N = 20_000;

await compare("rate", [
  {
    name: "limiter.allow, granted and denied",
    ops: N,
    floor: () => {
      let last = 0;
      for (let i = 0; i < N; i++) last = Math.max(last, performance.now());
      check(last > 0 ? 1 : 0, 1);
    },
    ours: () => {
      const limiter = new rate.Limiter(1e-3, N / 2);
      let allowed = 0;
      for (let i = 0; i < N; i++) if (limiter.allow()) allowed++;
      check(allowed, N / 2);
    },
    go: [82, 0.8],
  },
]);
