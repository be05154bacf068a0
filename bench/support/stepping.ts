/** Measures the steps from the bare hand-off to the channel, each in a process of its own, in turn. */
import { spawnSync } from "node:child_process";
import type { StepCost } from "./results.ts";
import { median, ratio } from "./stats.ts";
import { steps } from "./steps.ts";

const ROUNDS = 7;

function cost(step: number): number {
  const { status, stdout, stderr } = spawnSync(process.execPath, [".build/bench/steps.js", `${step}`], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`step ${step} could not be measured: ${stderr}`);
  return Number(stdout);
}

export function stepCosts(): StepCost[] {
  const rounds: Record<string, number[]> = Object.fromEntries(steps.map((_, i) => [i, []]));
  const order = steps.map((_, i) => i);
  for (let round = 0; round < ROUNDS; round++) {
    for (const i of round % 2 === 0 ? order : order.toReversed()) rounds[i]?.push(cost(i));
  }
  return steps.map(({ adds }, i) => {
    const over = i === 0 ? undefined : ratio([rounds], `${i}`, "0");
    return { adds, ns: median(rounds[i] ?? []), ...(over && { ratio: over }) };
  });
}
