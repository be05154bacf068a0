/** Turns of the event loop, by the host's own means: fake timers do not stop them. */

// Browsers have no setImmediate, and delay a setTimeout by 4 ms.
const realSetImmediate = (globalThis as { setImmediate?: (fn: () => void) => unknown }).setImmediate ?? message;

interface Port {
  onmessage: () => void;
  postMessage(value: undefined): void;
  close(): void;
}

function message(fn: () => void): void {
  const { port1, port2 } = new MessageChannel() as unknown as { port1: Port; port2: Port };
  port1.onmessage = () => {
    port1.close();
    fn();
  };
  port2.postMessage(undefined);
}

/** One macrotask turn: everything that can run without time or I/O has run. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    realSetImmediate(resolve);
  });
}

export async function turns(n: number): Promise<void> {
  for (let i = 0; i < n; i++) await turn();
}
