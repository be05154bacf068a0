/** The header `Retry-After`. */

const SECONDS = /^\d{1,10}$/;

// The three forms of an HTTP-date: today's, and the two that a recipient must still accept. `Date.parse` alone would
// take "-5" for a year.
const TODAY = /^[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT$/;
const RFC850 = /^[A-Z][a-z]{5,8}, \d\d-[A-Z][a-z]{2}-\d\d \d\d:\d\d:\d\d GMT$/;
const ASCTIME = /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d \d{4}$/;

/** The milliseconds from `at` that the value asks to wait, 0 or more; undefined if it is not valid. */
export function retryAfterOf(value: string | null, at: number): number | undefined {
  if (value === null) return undefined;
  if (SECONDS.test(value)) return Number(value) * 1000;
  const dated = TODAY.test(value) || RFC850.test(value) ? value : ASCTIME.test(value) ? `${value} GMT` : "";
  const when = Date.parse(dated);
  return Number.isNaN(when) ? undefined : Math.max(when - at, 0);
}
