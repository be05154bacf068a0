/** Loads that the test ends. */
export interface Load<K, V> {
  readonly key: K;
  readonly signal: AbortSignal;
  open(value: V): void;
  fail(error: unknown): void;
}

/** A loader for getOrLoad, and the loads that it has started. */
export function loads<K, V>(): { load: (key: K, signal: AbortSignal) => Promise<V>; begun: Load<K, V>[] } {
  const begun: Load<K, V>[] = [];
  const load = (key: K, signal: AbortSignal) =>
    new Promise<V>((open, fail) => {
      begun.push({ key, signal, open, fail });
    });
  return { load, begun };
}
