/** Measures how costs grow with size, each point in a process of its own. */
import { spawnSync } from "node:child_process";
import { type Growth, growthSeries } from "../growthSeries.ts";
import type { Points, Series } from "./growth.ts";

function cost(series: number, side: "ours" | "floor", size: number): number {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [".build/bench/growth.js", `${series}`, side, `${size}`],
    { encoding: "utf8" },
  );
  if (status !== 0) throw new Error(`the growth of "${growthSeries[series]?.title}" could not be measured: ${stderr}`);
  return Number(stdout);
}

/** Every second size upwards, then the others downwards, so that the drift of the machine does not look like growth. */
function points(series: number, side: "ours" | "floor", sizes: readonly number[]): Points {
  const up = sizes.filter((_, i) => i % 2 === 0);
  const down = sizes.filter((_, i) => i % 2 === 1).toReversed();
  const costs = new Map([...up, ...down].map((size) => [size, cost(series, side, size)]));
  return sizes.map((size) => [size, costs.get(size) as number] as const);
}

export function growthCosts(say: (what: string) => void): Series[] {
  return growthSeries.map(({ title, size, operation, sizes, floor, floorIs }: Growth, i) => {
    say(`  growth: ${title}`);
    return {
      title,
      size,
      operation,
      ours: points(i, "ours", sizes),
      ...(floor === undefined ? {} : { floor: points(i, "floor", sizes), floorIs: floorIs ?? "bare promises" }),
    };
  });
}
