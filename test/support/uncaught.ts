/**
 * What a host reports when nobody handles an error: Node, Bun and Deno by an event of `process`, browsers of `window`.
 */

const EVENTS = {
  uncaughtException: { name: "error", key: "error" },
  unhandledRejection: { name: "unhandledrejection", key: "reason" },
} as const;

type Target = {
  [method in "addEventListener" | "removeEventListener"]: (name: string, fn: (event: never) => void) => void;
};

/** Calls `collect` with each, in place of the test runner's listeners, which would fail the run. Returns its end. */
export function collecting(event: keyof typeof EVENTS, collect: (error: unknown) => void): () => void {
  const { process } = globalThis as { process?: NodeJS.Process };
  if (process === undefined) return collectingOnPage(event, collect);
  const listeners = process.listeners(event as never) as (() => void)[];
  process.removeAllListeners(event).on(event, collect);
  return () => {
    process.off(event, collect);
    for (const listener of listeners) process.on(event, listener);
  };
}

function collectingOnPage(event: keyof typeof EVENTS, collect: (error: unknown) => void): () => void {
  const page = globalThis as unknown as Target;
  const { name, key } = EVENTS[event];
  const listener = (event: Event & { [key]: unknown }) => {
    event.preventDefault();
    collect(event[key]);
  };
  page.addEventListener(name, listener);
  return () => page.removeEventListener(name, listener);
}
