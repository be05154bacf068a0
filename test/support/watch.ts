/** The state of a promise, without awaiting it. Read it after a turn: reactions run in microtasks. */
export interface Watched {
  state: "pending" | "fulfilled" | "rejected";
  value: unknown;
  reason: unknown;
}

/** Follows a promise, and handles its rejection. */
export function watch(promise: Promise<unknown>): Watched {
  const watched: Watched = { state: "pending", value: undefined, reason: undefined };
  promise.then(
    (value) => Object.assign(watched, { state: "fulfilled", value }),
    (reason: unknown) => Object.assign(watched, { state: "rejected", reason }),
  );
  return watched;
}
