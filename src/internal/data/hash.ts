/**
 * Hashes of keys of every type, equal for keys that a Map treats as the same (`0` and `-0`, `NaN` and `NaN`), with
 * every bit depending on the whole key and on a seed.
 *
 * The seed is drawn once per process. An attacker that does not know it cannot choose keys with equal hashes: keys that
 * were prepared elsewhere, to fall all into one shard, spread as any others do. It does not protect against an attacker
 * that times single calls and adapts the keys, or that sees hashes. It is not a cryptographic hash: do not publish
 * hashes, and do not use them as identities.
 *
 * A string is read whole, unit by unit: keys differ in their ends, in their middles, or in one digit of a long path,
 * and any sample of the units puts some family of keys into one place. Objects and symbols have no content to hash, so
 * they are numbered when first seen.
 */
import { Stamp } from "./stamp.ts";

interface RandomSource {
  getRandomValues(array: Int32Array): unknown;
}

/** The hash of a key: an unsigned integer of 32 bits. */
export type Hash = (key: unknown) => number;

let shared: Hash | undefined;

/**
 * The hash of this process. Its seed is drawn by the first call, and not when the module is loaded: Node takes
 * milliseconds to load its source of random numbers, which most programs have no use for.
 */
export function processHash(): Hash {
  shared ??= hashOf(draw());
  return shared;
}

/** A seed. From Math.random where the host has no better source, or none to use now. */
function draw(): Int32Array {
  const seed = new Int32Array(7);
  try {
    (globalThis as unknown as { crypto: RandomSource }).crypto.getRandomValues(seed);
  } catch {
    for (let i = 0; i < seed.length; i++) seed[i] = Math.random() * 2 ** 32;
  }
  return seed;
}

/** The finalizer of MurmurHash3: flipping any bit of the input flips each bit of the result with probability 1/2. */
export function mix(bits: number): number {
  let h = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

// What the units are of, so that equal units of two types are two keys.
const STRING = 0;
const BIGINT = 1;
const SYMBOL = 2;
const FLOAT = 3;

// The serial numbers: of the keys that are the only ones of their kind, then of objects and symbols.
const NULL = 0;
const TRUE = 1;
const FALSE = 2;
const UNDEFINED = 3;
let serials = 4;

const float = new Float64Array(1);
const words = new Uint32Array(float.buffer);

/** The hash under a seed. One function around all that use it: the compiler puts its numbers into the code. */
function hashOf(seed: Int32Array): Hash {
  // Where the two lanes of a string start, their multipliers, the multiplier that joins them, and the start and
  // multiplier of an integer. Multipliers are odd, so that a multiplication loses no bit.
  const startA = seed[0] as number;
  const timesA = (seed[1] as number) | 1;
  const startB = seed[2] as number;
  const timesB = (seed[3] as number) | 1;
  const joinTimes = (seed[4] as number) | 1;
  const integerStart = seed[5] as number;
  const integerTimes = (seed[6] as number) | 1;

  /**
   * The units at even and at odd places go through two lanes, which the processor runs side by side.
   *
   * A unit is 16 bits of the 32 that a lane has. Two at a time would reach the top bit, and a flip of that passes a
   * multiplication unchanged whatever the multiplier is: the next units could cancel it, under every seed.
   */
  function ofUnits(s: string, type: number): number {
    let even = startA;
    let odd = startB;
    const { length } = s;
    const pairs = length & ~1;
    for (let i = 0; i < pairs; i += 2) {
      even = Math.imul(even ^ s.charCodeAt(i), timesA);
      odd = Math.imul(odd ^ s.charCodeAt(i + 1), timesB);
      even ^= even >>> 15;
      odd ^= odd >>> 15;
    }
    if (pairs < length) {
      even = Math.imul(even ^ s.charCodeAt(pairs), timesA);
      even ^= even >>> 15;
    }
    return ofLanes(even, odd, length, type);
  }

  /**
   * Joins the lanes. One is multiplied by a secret number before the other is added, so that nobody can choose a change
   * of one that cancels a change of the other.
   */
  function ofLanes(even: number, odd: number, length: number, type: number): number {
    return mix(Math.imul(even ^ (4 * length + type), joinTimes) + odd);
  }

  function ofNumber(n: number): number {
    if (n === (n | 0)) return mix(Math.imul(n ^ integerStart, integerTimes));
    // Every NaN has the bits of this one, and -0 was an integer above.
    float[0] = Number.isNaN(n) ? Number.NaN : n;
    const low = words[0] as number;
    const high = words[1] as number;
    let even = Math.imul(startA ^ (low & 0xffff), timesA);
    let odd = Math.imul(startB ^ (low >>> 16), timesB);
    even ^= even >>> 15;
    odd ^= odd >>> 15;
    even = Math.imul(even ^ (high & 0xffff), timesA);
    odd = Math.imul(odd ^ (high >>> 16), timesB);
    return ofLanes(even ^ (even >>> 15), odd ^ (odd >>> 15), 4, FLOAT);
  }

  function ofSymbol(symbol: symbol): number {
    const name = Symbol.keyFor(symbol);
    if (name !== undefined) return ofUnits(name, SYMBOL);
    const serial = serialOfSymbol(symbol);
    return serial === undefined ? ofUnits(symbol.description ?? "", SYMBOL) : ofSerial(serial);
  }

  function ofSerial(serial: number): number {
    return mix(Math.imul(serial ^ startB, timesB));
  }

  return (key) => {
    switch (typeof key) {
      case "string":
        return ofUnits(key, STRING);
      case "number":
        return ofNumber(key);
      case "bigint":
        return ofUnits(key.toString(16), BIGINT); // In linear time, as the base is a power of two.
      case "symbol":
        return ofSymbol(key);
      case "object":
        return ofSerial(key === null ? NULL : serialOf(key));
      case "function":
        return ofSerial(serialOf(key));
      case "boolean":
        return ofSerial(key ? TRUE : FALSE);
      default:
        return ofSerial(UNDEFINED);
    }
  };
}

class Numbered extends Stamp {
  readonly #serial: number;

  constructor(object: object, serial: number) {
    super(object);
    this.#serial = serial;
  }

  static serialOf(object: object): number | undefined {
    return #serial in object ? object.#serial : undefined;
  }
}

// The numbers of what cannot be stamped: symbols, and frozen objects where the host refuses.
const unstamped = new WeakMap<WeakKey, number>();

function nextSerial(): number {
  const serial = serials;
  serials = (serials + 1) | 0;
  return serial;
}

function serialOf(object: object): number {
  let serial = Numbered.serialOf(object) ?? unstamped.get(object);
  if (serial === undefined) {
    serial = nextSerial();
    try {
      new Numbered(object, serial);
    } catch {
      unstamped.set(object, serial);
    }
  }
  return serial;
}

/** The number of a symbol that is not registered; undefined on a host that takes no symbols as weak keys. */
function serialOfSymbol(symbol: symbol): number | undefined {
  let serial = unstamped.get(symbol);
  if (serial === undefined) {
    serial = nextSerial();
    try {
      unstamped.set(symbol, serial);
    } catch {
      return undefined;
    }
  }
  return serial;
}
