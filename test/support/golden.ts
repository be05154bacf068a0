/** The traces of real Go, in test/golden; FORMAT.md there says what they hold. */
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";

/** Reads a golden file: `golden("chan")`. The caller states its type. */
export function golden<T>(name: string): T {
  const file = new URL(`../golden/${name}.json.gz`, import.meta.url);
  return JSON.parse(gunzipSync(readFileSync(file)).toString("utf8")) as T;
}
