/** Turns of the event loop, by the host's own setImmediate: fake timers do not stop them. */
const realSetImmediate = setImmediate;

/** One macrotask turn: everything that can run without time or I/O has run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    realSetImmediate(resolve);
  });
}

export async function turns(n: number): Promise<void> {
  for (let i = 0; i < n; i++) await turn();
}
