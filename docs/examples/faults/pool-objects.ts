/**
 * Fault 5: objects of a pool that are not given back, or given back without a reset. The first makes the pool an
 * allocator; the second shows one request's data to another.
 *
 * The tool: the kind "pool object" of `leak.counters()`, and under full tracking `leak.places()`: how many are out, and
 * who took them. A pool of this library cannot be made without `reset`, and calls it at every `put`.
 *
 * The cure: `use`, which gives the object back however the function ends.
 *
 * `npm run example faults/pool-objects` runs it.
 */
import { leak, pool } from "gopark";

leak.track("full");

interface Buffer {
  text: string;
}

let made = 0;
const buffers = new pool.Pool<Buffer>({
  create: () => {
    made++;
    return { text: "" };
  },
  reset: (buffer) => {
    buffer.text = "";
  },
});

function render(name: string): string {
  const buffer = buffers.get();
  if (name === "") throw new Error("no name"); // And the buffer is gone.
  buffer.text += `hello ${name}`;
  const { text } = buffer;
  buffers.put(buffer);
  return text;
}

function renderCured(name: string): Promise<string> {
  return buffers.use((buffer) => {
    if (name === "") throw new Error("no name");
    buffer.text += `hello ${name}`;
    return buffer.text;
  });
}

const names = ["ann", "", "bob", "", "eve", ""];
for (const name of names) {
  try {
    render(name);
  } catch {
    // Stands for an answer with status 400.
  }
}
for (const { kind, count, stack } of leak.places()) {
  console.log(`the fault: ${count} ${kind} taken at ${stack?.match(/\w+(?= \()/)?.[0]}, ${made} made`);
}

const before = leak.current();
for (const name of names) await renderCured(name).catch(() => {});
console.log("the cure:", leak.find({ ignore: before }).length, "left out");
console.log("and what is taken again is empty:", await renderCured("ann"));
// Output:
// the fault: 3 pool object taken at render, 3 made
// the cure: 0 left out
// and what is taken again is empty: hello ann
