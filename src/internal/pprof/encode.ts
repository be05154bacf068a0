/**
 * Profiles, and their encoding: the protocol buffer of github.com/google/pprof, `profile.proto`, not compressed.
 *
 * The numbers of the fields below are those of that file. A field of 0, and an empty string, are left out, which means
 * the same, except in the table of strings.
 */

import type { Frame } from "../track/frames.ts";
import type { Pace } from "./pace.ts";

/** What a value counts, and in which unit. */
export interface ValueType {
  readonly type: string;
  readonly unit: string;
}

/** What a sample is marked with, by key: a text, or a whole number of a unit. */
export type Labels = Readonly<Record<string, string | { readonly value: number; readonly unit: string }>>;

/** A stack, and what was counted there. */
export interface Sample {
  /** The innermost first. */
  readonly frames: readonly Frame[];
  /** One for each type of the profile; whole numbers, 0 or more. */
  readonly values: readonly number[];
  readonly labels?: Labels | undefined;
}

export interface Profile {
  readonly types: readonly ValueType[];
  /** The type that is shown unless another is asked for. */
  readonly defaultType: string;
  /** How much of what lies between two samples; left out where that is not known. */
  readonly period?: (ValueType & { readonly value: number }) | undefined;
  /** When it was begun, in epoch milliseconds. */
  readonly startedAt: number;
  /** For how many milliseconds it was recorded; 0 if it shows one instant. */
  readonly duration: number;
  readonly samples: readonly Sample[];
}

// What `go tool pprof` shows as the name of the program.
const PROGRAM = "javascript";

/** Encodes a profile, in slices of the pace. */
export async function encode(profile: Profile, pace: Pace): Promise<Uint8Array> {
  const out = new Message();
  const tables = new Tables(out);
  const { types, period } = profile;
  for (const type of types) out.message(1, typeMessage(tables, type));
  for (const sample of profile.samples) {
    out.message(2, sampleMessage(tables, sample));
    const pause = pace.due();
    if (pause !== undefined) await pause;
  }
  const mapping = new Message().int(1, MAPPING).int(5, tables.text(PROGRAM));
  for (const has of [7, 8, 9]) mapping.int(has, 1); // Functions, names of files, numbers of lines.
  out.message(3, mapping);
  out.int(9, Math.round(profile.startedAt * 1e6)).int(10, Math.round(profile.duration * 1e6));
  if (period !== undefined) out.message(11, typeMessage(tables, period)).int(12, period.value);
  out.int(14, tables.text(profile.defaultType));
  for (const text of tables.texts()) out.text(6, text);
  return out.finish();
}

const MAPPING = 1;

function typeMessage(tables: Tables, { type, unit }: ValueType): Message {
  return new Message().int(1, tables.text(type)).int(2, tables.text(unit));
}

function sampleMessage(tables: Tables, { frames, values, labels = {} }: Sample): Message {
  const message = new Message().packed(
    1,
    frames.map((frame) => tables.location(frame)),
  );
  message.packed(2, values);
  for (const [key, value] of Object.entries(labels)) {
    const label = new Message().int(1, tables.text(key));
    if (typeof value === "string") label.int(2, tables.text(value));
    else label.int(3, value.value).int(4, tables.text(value.unit));
    message.message(3, label);
  }
  return message;
}

/**
 * What samples refer to by number. Locations and functions are written when they are first asked for; the strings at
 * the end, as a table.
 */
class Tables {
  // A string's number is its place in the table; the first must be the empty one.
  private readonly strings = new Map<string, number>([["", 0]]);
  // By what they consist of, as numbers of these tables. Numbered from 1.
  private readonly functions = new Map<string, number>();
  private readonly locations = new Map<string, number>();
  // Of a frame that is one object in many samples, as those of interned stacks are.
  private readonly known = new Map<Frame, number>();
  private readonly out: Message;

  constructor(out: Message) {
    this.out = out;
  }

  text(text: string): number {
    return numbered(this.strings, text, 0, () => {});
  }

  texts(): Iterable<string> {
    return this.strings.keys();
  }

  location(frame: Frame): number {
    let id = this.known.get(frame);
    if (id === undefined) {
      id = this.newLocation(frame);
      this.known.set(frame, id);
    }
    return id;
  }

  private newLocation({ fn, file, line, column }: Frame): number {
    const functionId = this.function(fn, pathOf(file));
    return numbered(this.locations, `${functionId}:${line}:${column}`, 1, (id) => {
      const code = new Message().int(1, functionId).int(2, line).int(3, column);
      this.out.message(4, new Message().int(1, id).int(2, MAPPING).message(4, code));
    });
  }

  private function(name: string, file: string): number {
    const [nameText, fileText] = [this.text(name), this.text(file)];
    return numbered(this.functions, `${nameText}:${fileText}`, 1, (id) => {
      this.out.message(5, new Message().int(1, id).int(2, nameText).int(3, nameText).int(4, fileText));
    });
  }
}

/** The number of `key`; a new one, from `first` on, is shown to `added`. */
function numbered(table: Map<string, number>, key: string, first: number, added: (id: number) => void): number {
  let id = table.get(key);
  if (id === undefined) {
    id = table.size + first;
    table.set(key, id);
    added(id);
  }
  return id;
}

/** The path of a `file:` URL, so that `go tool pprof -list` finds the source; anything else as it is. */
function pathOf(file: string): string {
  if (!file.startsWith("file:///")) return file;
  try {
    return decodeURIComponent(file.slice(/^file:\/\/\/[A-Za-z]:/.test(file) ? 8 : 7));
  } catch {
    return file; // A % that escapes nothing.
  }
}

const utf8 = new TextEncoder();

/** A message of the protocol, growing by fields. */
class Message {
  private bytes = new Uint8Array(64);
  private length = 0;

  /** A field of a whole number, 0 or more. */
  int(field: number, value: number): this {
    if (value !== 0) {
      this.varint(field * 8);
      this.varint(value);
    }
    return this;
  }

  text(field: number, text: string): this {
    return this.block(field, utf8.encode(text));
  }

  message(field: number, { bytes, length }: Message): this {
    return this.block(field, bytes.subarray(0, length));
  }

  packed(field: number, values: readonly number[]): this {
    const block = new Message();
    for (const value of values) block.varint(value);
    return this.message(field, block);
  }

  finish(): Uint8Array {
    return this.bytes.slice(0, this.length);
  }

  private block(field: number, block: Uint8Array): this {
    this.varint(field * 8 + 2);
    this.varint(block.length);
    this.reserve(block.length);
    this.bytes.set(block, this.length);
    this.length += block.length;
    return this;
  }

  // Seven bits to a byte, the lowest first. By division, as bit operations are of 32 bits; it is exact for every whole
  // number, also beyond 2^53.
  private varint(value: number): void {
    this.reserve(10);
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.bytes[this.length++] = (rest % 128) + 128;
    this.bytes[this.length++] = rest;
  }

  private reserve(n: number): void {
    if (this.length + n <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(2 * this.bytes.length, this.length + n));
    larger.set(this.bytes);
    this.bytes = larger;
  }
}
