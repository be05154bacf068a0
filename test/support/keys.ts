/** Families of commonly used keys, numbered, no two of a family equal. */
import { randomUUID } from "node:crypto";
import { random } from "./random.ts";

export type Family = (i: number) => unknown;

/** 200 characters, with the number at the place. */
function long(i: number, at: number): string {
  const id = String(i).padStart(6, "0");
  return "x".repeat(at) + id + "y".repeat(200 - at - id.length);
}

const rnd = random(1);
const object: Family[] = [
  () => ({}),
  (i) => [i],
  (i) => () => i,
  () => Object.freeze({}),
  () => Object.create(null),
  () => new Date(0),
  () => new Proxy({}, {}),
];

export const families: Record<string, Family> = {
  "strings with a common prefix": (i) => `user:session:${i}`,
  "strings with a common suffix": (i) => `${i}:user:session:active`,
  "strings with a common prefix and suffix": (i) => `tenant/${i}/profile.json`,
  "fixed-width ids": (i) => String(i).padStart(12, "0"),
  "fixed-width ids that end in zeros": (i) => `${String(i).padStart(8, "0")}00000000`,
  "plain decimal strings": (i) => String(i),
  "hexadecimal counters": (i) => i.toString(16),
  "hexadecimal counters of eight digits": (i) => i.toString(16).padStart(8, "0"),
  "counters in base 36": (i) => i.toString(36),
  UUIDs: () => randomUUID(),
  "UUIDs that differ in the first group": (i) => `${i.toString(16).padStart(8, "0")}-0000-4000-8000-000000000000`,
  "UUIDs that differ in the middle": (i) => `00000000-${i.toString(16).padStart(5, "0")}-4000-8000-000000000000`,
  "UUIDs that differ in the last group": (i) => `00000000-0000-4000-8000-${i.toString(16).padStart(12, "0")}`,
  "times of day of an ISO date": (i) => new Date(1_700_000_000_000 + i * 1000).toISOString(),
  "days of an ISO date": (i) => new Date(i * 86_400_000).toISOString().slice(0, 10),
  "URLs with an id in the middle": (i) => `https://api.example.com/v2/customers/${i}/orders?status=open&page=1`,
  "URLs with two ids": (i) => `https://example.com/u/${i % 317}/posts/${Math.floor(i / 317)}`,
  "IPv4 addresses": (i) => `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`,
  "mail addresses": (i) => `user${i}@example.com`,
  "grid places": (i) => `${i % 400},${Math.floor(i / 400)}`,
  "long strings that differ at the start": (i) => long(i, 0),
  "long strings that differ in the middle": (i) => long(i, 97),
  "long strings that differ at the end": (i) => long(i, 194),
  "long strings that differ in length": (i) => "x".repeat((i % 500) + 1) + Math.floor(i / 500),
  "strings that differ at every fourth character": (i) => String(i).padStart(6, "0").replace(/./g, "key$&"),
  "strings that differ at every second character": (i) => String(i).padStart(6, "0").replace(/./g, "-$&"),
  "strings of two characters": (i) => String.fromCharCode(32 + (i % 317), 32 + Math.floor(i / 317)),
  "Chinese characters": (i) => `${String.fromCharCode(0x4e00 + (i % 20_000))}的${Math.floor(i / 20_000)}`,
  emoji: (i) => String.fromCodePoint(0x1f300 + (i % 256)) + String.fromCodePoint(0x1f300 + Math.floor(i / 256)),
  integers: (i) => i,
  "negative integers": (i) => -i - 1,
  "even integers": (i) => 2 * i,
  "multiples of 256": (i) => 256 * i,
  "multiples of 65 536": (i) => 65_536 * i,
  "multiples of 1000": (i) => 1000 * i,
  "integers past 32 bits": (i) => 2 ** 32 + i,
  "multiples of 2 to the 32": (i) => 2 ** 32 * (i + 1),
  milliseconds: (i) => 1_700_000_000_000 + i,
  snowflakes: (i) => 175_928_847_299_117_063n + (BigInt(i) << 22n),
  fractions: (i) => (i + 1) / 100_000,
  halves: (i) => i + 0.5,
  "tenths, as summed": (i) => i * 0.1,
  "random floats": () => rnd.next() + rnd.next() / 2 ** 32,
  reciprocals: (i) => 1 / (i + 2),
  "large floats": (i) => 1e200 * (i + 1),
  bigints: (i) => BigInt(i),
  "negative bigints": (i) => -BigInt(i) - 1n,
  "bigints of 128 bits, low part": (i) => (1n << 127n) + BigInt(i),
  "bigints of 128 bits, high part": (i) => (BigInt(i) << 100n) + 1n,
  "powers and more of bigints": (i) => BigInt(i) << 32n,
  objects: () => ({}),
  "frozen objects": () => Object.freeze({}),
  "objects of every kind": (i) => object[i % object.length]?.(i),
  symbols: (i) => Symbol(i % 10),
  "registered symbols": (i) => Symbol.for(`registered ${i}`),
};
