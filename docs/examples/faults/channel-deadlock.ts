/**
 * Fault 3: a channel deadlock. The workers send their results while nobody receives, because the program waits for the
 * workers first. Node ends such a process with exit code 0, or 13, and says nothing.
 *
 * The tool: `node --import gopark/deadlock`, here as an import. The process ends with 2 and says what waits; with
 * `GOPARK_TRACK=full` also where. `dump` gives the same text while the process runs.
 *
 * The cure: receive while the workers run, and let a task close the channel when they have ended.
 *
 * `npm run example faults/channel-deadlock` runs it. The cure runs first, as nothing comes after the fault.
 */
import "gopark/deadlock";
import { Channel, go, sync } from "gopark";

function startWorkers(results: Channel<number>): sync.WaitGroup {
  const workers = new sync.WaitGroup();
  for (let n = 1; n <= 3; n++) workers.go(() => results.send(n * n));
  return workers;
}

const cured = new Channel<number>();
const workers = startWorkers(cured);
const closer = go(async () => {
  await workers.wait();
  cured.close();
});
let sum = 0;
for await (const n of cured) sum += n;
await closer;
console.log("the cure:", sum);

const results = new Channel<number>();
console.log("the fault: exit code 2, and on stderr what waits");
await startWorkers(results).wait(); // Nobody receives.
// Output:
// the cure: 14
// the fault: exit code 2, and on stderr what waits
//
// On stderr:
// fatal error: all goroutines are asleep - deadlock!
//
// 3 goroutines [chan send]
//
// goroutine [waitgroup wait]
//
// To see where each of them waits, run with GOPARK_TRACK=full
