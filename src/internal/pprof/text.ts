/** Profiles for people: by place as Go prints them with debug=1, and one by one as with debug=2. */
import { realNow } from "../host/host.ts";
import { type Frame, parseFrame } from "../track/frames.ts";
import { blockerOf, blockerText } from "../track/tasks.ts";
import type { Kind } from "../track/tracker.ts";
import { recordsUntil } from "./counts.ts";
import type { Profile, Sample } from "./encode.ts";
import type { Pace } from "./pace.ts";

/** Joins parts to pieces, each of about one slice of the pace; none is empty. */
export async function* inPieces(parts: Iterable<string>, pace: Pace): AsyncGenerator<string, void, undefined> {
  let text = "";
  for (const part of parts) {
    text += part;
    const pause = pace.due();
    if (pause === undefined) continue;
    if (text !== "") yield text;
    text = "";
    await pause;
  }
  if (text !== "") yield text;
}

/** The samples of a profile, the greatest value of its default type first. */
export function* listing(name: string, { types, defaultType, samples }: Profile): Generator<string> {
  const by = types.findIndex(({ type }) => type === defaultType);
  const totals = types.map(({ type, unit }, i) => {
    const total = samples.reduce((sum, { values }) => sum + (values[i] as number), 0);
    return unit === "count" ? `${total}` : `${type} ${total} ${unit}`;
  });
  yield `${name} profile: total ${totals.join(", ")}\n`;
  const sortKey = ({ values }: Sample) => values[by] as number;
  for (const { frames, values, labels = {} } of samples.toSorted((a, b) => sortKey(b) - sortKey(a))) {
    const shown = Object.entries(labels).map(([key, value]) => [
      key,
      typeof value === "string" ? value : `from ${value.value} ${value.unit}`,
    ]);
    const lines = frames.map((frame) => `#\t${frame.fn}\t${placeOf(frame)}\n`);
    yield `${values.join(" ")} @\n# labels: ${JSON.stringify(Object.fromEntries(shown))}\n${lines.join("")}\n`;
  }
}

/**
 * Each recorded thing of these kinds, the oldest first, in the form of Go's dump of goroutines, and how many of each
 * kind have no record.
 */
export function* dump(kinds: readonly Kind[]): Generator<string> {
  const unrecorded = new Map(kinds.map((kind) => [kind, kind.live]));
  const blocks = new Map<string, string>();
  const blockOf = (stack: string) => {
    let block = blocks.get(stack);
    if (block === undefined) {
      block = stackBlock(stack);
      blocks.set(stack, block);
    }
    return block;
  };
  let n = 0;
  const now = realNow();
  for (const record of recordsUntil(now)) {
    const left = unrecorded.get(record.kind);
    if (left === undefined) {
      yield ""; // Passing over the others takes time, too.
      continue;
    }
    unrecorded.set(record.kind, left - record.units);
    const blocker = blockerOf(record);
    const by = blocker === undefined ? "" : blockerText({ ...blocker, stack: blockOf(blocker.stack) });
    yield `${headOf(++n, record.kind, now - record.madeAt)}\n${blockOf(record.stack)}${by}\n`;
  }
  for (const [kind, live] of unrecorded) if (live > 0) yield `${live} without a record [${kind.name}]\n\n`;
}

function headOf(n: number, kind: Kind, age: number): string {
  const text = ageText(age);
  return `goroutine ${n} [${kind.name}${text === "" ? "" : `, ${text}`}]:`;
}

/** An age as Go writes it, in minutes; seconds where it is less than one, and nothing below a second. */
function ageText(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const [n, unit] = seconds >= 60 ? [Math.floor(seconds / 60), "minute"] : [seconds, "second"];
  return n === 0 ? "" : `${n} ${unit}${n === 1 ? "" : "s"}`;
}

/** A stack in Go's form: each function, and below it its place. What cannot be read as a frame stays as it is. */
function stackBlock(stack: string): string {
  const lines = stack.split("\n").map((text) => {
    const frame = parseFrame(text);
    return frame === undefined ? text : `${frame.fn}()\n\t${placeOf(frame)}`;
  });
  return `${lines.join("\n")}\n`;
}

function placeOf({ file, line, column }: Frame): string {
  return line === 0 ? file : `${file}:${line}${column === 0 ? "" : `:${column}`}`;
}
