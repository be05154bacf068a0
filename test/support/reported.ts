import { afterEach, vi } from "vitest";
import { turn } from "./turn.ts";
import { collecting } from "./uncaught.ts";

const realSetTimeout = setTimeout;

/**
 * Collects from now to the end of the test what is reported by `globalThis.reportError`, or thrown where no code can
 * catch it. The test runner's own listeners would fail the run.
 */
export function collectReported(): unknown[] {
  const seen: unknown[] = [];
  const collect = (error: unknown) => {
    seen.push(error);
  };
  vi.stubGlobal("reportError", collect);
  const end = collecting("uncaughtException", collect);
  restore = () => {
    end();
    vi.unstubAllGlobals();
  };
  return seen;
}

let restore: (() => void) | undefined;

afterEach(() => {
  restore?.();
  restore = undefined;
});

/** Waits some turns of the event loop, and until a real timer of a millisecond has fired: time enough for a report. */
export async function reportsDue(): Promise<void> {
  await turn();
  await new Promise<void>((resolve) => {
    realSetTimeout(resolve, 1);
  });
  await turn();
}
