/**
 * One step of the way from the bare hand-off to the channel: a process that measures the one whose number it is given,
 * and prints nanoseconds per value. Each step has a process of its own, or the loop would be compiled for all of them.
 */
import { measure } from "./support/measure.ts";
import { steps, stream } from "./support/steps.ts";

const VALUES = 5_000;
const MS = 60;

const step = steps[Number(process.argv[2])];
if (step === undefined) throw new Error(`no step ${process.argv[2]}`);
const run = () => stream(step.make(), VALUES);
await measure(run, VALUES, MS); // Compiles.
console.log(await measure(run, VALUES, 3 * MS));
