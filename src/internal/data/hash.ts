/**
 * Hashes of keys of every type, equal for keys that a Map takes for one (`0` and `-0`, `NaN` and `NaN`), with every bit
 * depending on the whole key.
 *
 * A string is read whole, at 1–2 ns a character: keys differ in their ends, in their middles, or in one digit of a long
 * path, and any sample of the characters puts some family of keys into one place. Objects and symbols have no content to
 * hash, so they are numbered when first seen.
 */
import { Stamp } from "./stamp.ts";

/** An unsigned integer of 32 bits. */
export function hash(key: unknown): number {
  switch (typeof key) {
    case "string":
      return ofString(key);
    case "number":
      return ofNumber(key);
    case "bigint":
      return ofBigInt(key);
    case "symbol":
      return ofSymbol(key);
    case "object":
      return key === null ? mix(1) : ofObject(key);
    case "function":
      return ofObject(key);
    case "boolean":
      return mix(key ? 2 : 3);
    default:
      return mix(4);
  }
}

/** The finalizer of MurmurHash3: each bit of h moves each bit of the result with an even chance. */
function mix(bits: number): number {
  let h = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const GOLDEN = 0x9e3779b1;

function ofString(s: string): number {
  let h = s.length;
  // Four characters to a step: a step each took twice as long for a key of ten.
  const fours = s.length & ~3;
  for (let i = 0; i < fours; i += 4) {
    const word =
      s.charCodeAt(i) ^ (s.charCodeAt(i + 1) << 8) ^ (s.charCodeAt(i + 2) << 16) ^ (s.charCodeAt(i + 3) << 24);
    h = Math.imul(h ^ word, GOLDEN);
    h ^= h >>> 15;
  }
  for (let i = fours; i < s.length; i++) h = Math.imul(h ^ s.charCodeAt(i), GOLDEN);
  return mix(h);
}

const float = new Float64Array(1);
const words = new Uint32Array(float.buffer);

function ofNumber(n: number): number {
  if (n === (n | 0)) return mix(n);
  // Every NaN has the bits of this one, and -0 was an integer above.
  float[0] = Number.isNaN(n) ? Number.NaN : n;
  return mix((words[0] as number) ^ Math.imul(words[1] as number, GOLDEN));
}

function ofBigInt(n: bigint): number {
  let h = n < 0n ? 5 : 6;
  for (let rest = n < 0n ? -n : n; rest > 0n; rest >>= 32n) {
    h = Math.imul(h ^ Number(BigInt.asIntN(32, rest)), GOLDEN);
    h ^= h >>> 15;
  }
  return mix(h);
}

let numbered = 0;

class Numbered extends Stamp {
  readonly #number: number;

  constructor(object: object, number: number) {
    super(object);
    this.#number = number;
  }

  static numberOf(object: object): number | undefined {
    return #number in object ? object.#number : undefined;
  }
}

// The numbers of what cannot be stamped: symbols, and frozen objects where the host refuses.
const unstamped = new WeakMap<WeakKey, number>();

function ofObject(object: object): number {
  const number = Numbered.numberOf(object) ?? unstamped.get(object);
  if (number !== undefined) return mix(number);
  numbered = (numbered + 1) | 0;
  try {
    new Numbered(object, numbered);
  } catch {
    unstamped.set(object, numbered);
  }
  return mix(numbered);
}

function ofSymbol(symbol: symbol): number {
  const name = Symbol.keyFor(symbol);
  if (name !== undefined) return ofString(name);
  let number = unstamped.get(symbol);
  if (number === undefined) {
    number = numbered = (numbered + 1) | 0;
    try {
      unstamped.set(symbol, number);
    } catch {
      return ofString(symbol.description ?? ""); // A host that takes no symbols as weak keys.
    }
  }
  return mix(number);
}
