/**
 * One step on the way from the bare hand-off to the channel: a process that measures the step whose number it is given,
 * with the work it is given (`value` or `roundTrip`), and prints nanoseconds. Each step has a process of its own.
 * Otherwise V8 would compile the loop for all of them.
 */
import { measure } from "./support/measure.ts";
import { steps, type Work, works } from "./support/steps.ts";

const VALUES = 5_000;
const MS = 60;

const [number, work] = process.argv.slice(2);
const step = steps[Number(number)];
const does = works[work as Work];
if (step === undefined || does === undefined) throw new Error(`no step ${number} ${work}`);
const run = () => does(step.make, VALUES);
await measure(run, VALUES, 2 * MS); // Until it is compiled.
console.log(await measure(run, VALUES, 3 * MS));
