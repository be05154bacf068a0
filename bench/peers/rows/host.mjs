/** The host's own means, as they are commonly used. */
import { check, N } from "./row.mjs";

const parent = new AbortController();

/** A controller that aborts with its parent, and removes its listener from it when it aborts by itself. */
function derive() {
  let ended = 0;
  for (let i = 0; i < N; i++) {
    const child = new AbortController();
    const end = () => child.abort(parent.signal.reason);
    parent.signal.addEventListener("abort", end, { once: true });
    child.abort();
    parent.signal.removeEventListener("abort", end);
    if (child.signal.aborted) ended++;
  }
  check(ended, N);
}

/** A controller that a timer would abort, and whose work ends first. */
function deadline() {
  let armed = 0;
  for (let i = 0; i < N; i++) {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), 1000);
    if (!controller.signal.aborted) armed++;
    clearTimeout(timer);
  }
  check(armed, N);
}

export const rows = [
  { row: "ctx.cancel", peer: "AbortController", ops: N, run: derive },
  { row: "ctx.timeout", peer: "AbortController", ops: N, run: deadline },
];
