/** Whom a request counts for. */
import { callable, isThenable, show, wholeNumber } from "../data/args.ts";
import { clientOf, keyOfAddress, type Network, parseNetwork } from "./address.ts";
import type { RequestInfoLite } from "./exchange.ts";

/**
 * Whom a request counts for. `address` is that of the client as `trust` gives it: an IPv4 address, or an IPv6 network;
 * empty if it is not known. Undefined, and a key of more than 512 characters: for its address.
 */
export type KeyFn = (r: RequestInfoLite, address: string) => string | undefined;

/** The longest key. */
const MAX_KEY = 512;

/** The function that gives the key of a request. It throws what a `key` throws, and if there is none. */
export function keyFunction(
  key: KeyFn | "global" | undefined,
  trust: readonly string[] | number,
  prefix: number,
): (r: RequestInfoLite) => string {
  if (key === "global") return () => "global";
  if (key !== undefined) callable(key, 'rateLimit: key, if it is not "global",');
  const trusted = trustOf(trust);
  const addressOf = (r: RequestInfoLite): string => {
    const client = clientOf(r.address, trusted === 0 ? undefined : r.header("x-forwarded-for"), trusted);
    return client === undefined ? "" : flat(keyOfAddress(client, prefix));
  };
  return (r) => {
    const address = addressOf(r);
    const own: unknown = key?.(r, address);
    if (own !== undefined) {
      if (typeof own !== "string") {
        if (isThenable(own)) own.then(undefined, () => {}); // What it rejects with is not the error here.
        throw new TypeError(`rateLimit: key must return a string, got ${show(own)}`);
      }
      if (own.length <= MAX_KEY) return flat(`key:${own}`); // No address begins like this.
    }
    if (address !== "") return address;
    throw new Error("rateLimit: the address of the client is not known: set `key`, or the `address` of the adapter");
  };
}

function trustOf(trust: readonly string[] | number): number | readonly Network[] {
  if (typeof trust === "number") return wholeNumber(trust, "rateLimit: trust");
  if (!Array.isArray(trust)) {
    throw new TypeError(`rateLimit: trust must be a number or an array of networks, got ${show(trust)}`);
  }
  return trust.map((text) => {
    const network = typeof text === "string" ? parseNetwork(text) : undefined;
    if (network === undefined) {
      throw new RangeError(`rateLimit: trust must be addresses and networks such as "10.0.0.0/8", got ${show(text)}`);
    }
    return network;
  });
}

const ANYTHING = /^/;

/**
 * The same text, which was just put together, in one piece. Engines keep what was put together as its parts until it is
 * searched, and a part of a header as the whole header with two numbers. So a key could keep a header alive. (Node 22
 * and 24 read a character of the parts without putting them together.)
 */
function flat(text: string): string {
  ANYTHING.test(text);
  return text;
}
