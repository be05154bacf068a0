/** A reader of encoded profiles, written from the schema alone: it shares nothing with the encoder. */

export interface Read {
  /** "type/unit" of each value. */
  readonly types: readonly string[];
  readonly defaultType: string;
  readonly period: string;
  readonly timeNanos: number;
  readonly durationNanos: number;
  readonly samples: readonly ReadSample[];
  readonly mappings: readonly Readonly<Record<number, number>>[];
  /** How many locations and functions the tables have. */
  readonly locations: number;
  readonly functions: number;
}

export interface ReadSample {
  /** "fn file:line:column", the innermost first. */
  readonly stack: readonly string[];
  readonly values: readonly number[];
  /** Texts, and numbers as "value unit". */
  readonly labels: Readonly<Record<string, string>>;
}

type Field = number | Uint8Array;

/** The fields of a message, by number, in order. */
function fields(bytes: Uint8Array): Map<number, Field[]> {
  const found = new Map<number, Field[]>();
  let at = 0;
  const varint = (): number => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      if (at >= bytes.length) throw new Error("a message ends inside a number");
      const byte = bytes[at++] as number;
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return Number(value);
    }
  };
  while (at < bytes.length) {
    const tag = varint();
    const [field, wire] = [Math.floor(tag / 8), tag % 8];
    let value: Field;
    if (wire === 0) value = varint();
    else if (wire === 2) {
      const length = varint();
      if (at + length > bytes.length) throw new Error(`field ${field} is longer than its message`);
      value = bytes.subarray(at, at + length);
      at += length;
    } else throw new Error(`wire type ${wire} of field ${field}`);
    found.set(field, [...(found.get(field) ?? []), value]);
  }
  return found;
}

function packed(block: Field | undefined): number[] {
  const numbers: number[] = [];
  let value = 0n;
  let shift = 0n;
  for (const byte of (block as Uint8Array | undefined) ?? []) {
    value |= BigInt(byte & 127) << shift;
    shift += 7n;
    if (byte >= 128) continue;
    numbers.push(Number(value));
    value = 0n;
    shift = 0n;
  }
  return numbers;
}

/** Reads a profile; throws if it is malformed, or refers to what is not there. */
export function readProfile(bytes: Uint8Array): Read {
  const top = fields(bytes);
  const all = (field: number) => (top.get(field) ?? []).map((block) => fields(block as Uint8Array));
  const strings = (top.get(6) ?? []).map((block) => new TextDecoder().decode(block as Uint8Array));
  if (strings[0] !== "") throw new Error("the first string must be empty");
  if (new Set(strings).size !== strings.length) throw new Error("a string is there twice");
  const int = (message: Map<number, Field[]>, field: number) => (message.get(field)?.[0] ?? 0) as number;
  const text = (message: Map<number, Field[]>, field: number) => {
    const found = strings[int(message, field)];
    if (found === undefined) throw new Error(`no string ${int(message, field)}`);
    return found;
  };
  const typeOf = (message: Map<number, Field[]>) => `${text(message, 1)}/${text(message, 2)}`;
  const byId = (field: number) => new Map(all(field).map((message) => [int(message, 1), message]));
  const [functions, locations] = [byId(5), byId(4)];
  if (functions.has(0) || locations.has(0)) throw new Error("an id is 0");
  const frameOf = (id: number) => {
    const location = locations.get(id);
    if (location === undefined) throw new Error(`no location ${id}`);
    if (int(location, 2) !== 1) throw new Error("a location without the mapping");
    const line = fields(location.get(4)?.[0] as Uint8Array);
    const fn = functions.get(int(line, 1));
    if (fn === undefined) throw new Error(`no function ${int(line, 1)}`);
    return `${text(fn, 2)} ${text(fn, 4)}:${int(line, 2)}:${int(line, 3)}`;
  };
  const samples = all(2).map((sample) => {
    const labels = (sample.get(3) ?? []).map((block) => {
      const label = fields(block as Uint8Array);
      const unit = text(label, 4);
      return [text(label, 1), unit === "" ? text(label, 2) : `${int(label, 3)} ${unit}`];
    });
    return {
      stack: packed(sample.get(1)?.[0]).map(frameOf),
      values: packed(sample.get(2)?.[0]),
      labels: Object.fromEntries(labels),
    };
  });
  const [periodType] = all(11);
  return {
    types: all(1).map(typeOf),
    defaultType: text(top, 14),
    period: periodType === undefined ? "" : `${int(top, 12)} ${typeOf(periodType)}`,
    timeNanos: int(top, 9),
    durationNanos: int(top, 10),
    samples,
    mappings: all(3).map((message) =>
      Object.fromEntries([...message].map(([field, [value]]) => [field, value as number])),
    ),
    locations: locations.size,
    functions: functions.size,
  };
}
