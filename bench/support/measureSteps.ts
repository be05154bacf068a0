/** Measures the steps from the bare hand-off to the channel, each in processes of its own, in turn. */
import { spawnSync } from "node:child_process";
import type { StepCost } from "./results.ts";
import { median, ratio, type SetRounds } from "./stats.ts";
import { steps, type Work } from "./steps.ts";

const ROUNDS = 5;

function cost(step: number, work: Work): number {
  const { status, stdout, stderr } = spawnSync(process.execPath, [".build/bench/steps.js", `${step}`, work], {
    encoding: "utf8",
  });
  if (status !== 0) throw new Error(`step ${step} could not be measured: ${stderr}`);
  return Number(stdout);
}

/** The rounds of each step, by its number. */
function roundsOf(work: Work): SetRounds {
  const rounds: Record<string, number[]> = Object.fromEntries(steps.map((_, i) => [i, []]));
  const order = steps.map((_, i) => i);
  for (let round = 0; round < ROUNDS; round++) {
    for (const i of round % 2 === 0 ? order : order.toReversed()) rounds[i]?.push(cost(i, work));
  }
  return rounds;
}

export function stepCosts(): StepCost[] {
  const [value, roundTrip] = [roundsOf("value"), roundsOf("roundTrip")];
  const figure = (rounds: SetRounds, i: number) => {
    const over = i === 0 ? undefined : ratio([rounds], `${i}`, "0");
    return { ns: median(rounds[i] ?? []), ...(over && { ratio: over }) };
  };
  return steps.map(({ adds }, i) => ({ adds, value: figure(value, i), roundTrip: figure(roundTrip, i) }));
}
