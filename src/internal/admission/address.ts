/**
 * Addresses of clients: read from text that a stranger may have sent, and turned into keys. A key is made anew from the
 * numbers: a part of the text would keep all of it alive.
 */

/** The eight groups of an IPv6 address. An IPv4 address is the one that stands for it: ::ffff:1.2.3.4. */
export type Address = readonly number[];

/** The longest text of an address: an IPv6 address in brackets with a zone and a port. */
const MAX_LENGTH = 80;

/**
 * The address that a text is: IPv4 or IPv6, in brackets or not, with a port or a zone or without. Undefined if it is
 * none.
 */
export function parseAddress(text: string): Address | undefined {
  if (text.length > MAX_LENGTH) return undefined;
  if (!text.includes(":")) return parseV4(text);
  const [, inBrackets] = /^\[([^\]]*)\](?::\d{1,5})?$/.exec(text) ?? [];
  if (inBrackets !== undefined) return parseV6(inBrackets);
  const [, withPort] = /^([^:]*):\d{1,5}$/.exec(text) ?? [];
  return withPort !== undefined ? parseV4(withPort) : parseV6(text);
}

const DOT = 46;
const ZERO = 48;
const NINE = 57;

/**
 * The bytes of an IPv4 address; undefined if the text is none. One with leading zeros is none, as some read octal. (By
 * character, as it is asked for twice a request: a regular expression takes four times as long.)
 */
function bytesOf(text: string): number[] | undefined {
  const bytes: number[] = [];
  let byte = 0;
  let digits = 0;
  for (let i = 0; i <= text.length; i++) {
    const code = i === text.length ? DOT : text.charCodeAt(i);
    if (code === DOT) {
      if (digits === 0 || byte > 255) return undefined;
      bytes.push(byte);
      byte = digits = 0;
    } else if (code >= ZERO && code <= NINE && (digits === 0 || byte > 0)) {
      byte = byte * 10 + code - ZERO;
      digits++;
    } else return undefined;
  }
  return bytes.length === 4 ? bytes : undefined;
}

function groupsOfBytes([a, b, c, d]: readonly number[]): number[] {
  return [((a as number) << 8) | (b as number), ((c as number) << 8) | (d as number)];
}

function parseV4(text: string): Address | undefined {
  const bytes = bytesOf(text);
  return bytes && [0, 0, 0, 0, 0, 0xffff, ...groupsOfBytes(bytes)];
}

function parseV6(text: string): Address | undefined {
  const [bare = ""] = text.split("%"); // Without its zone.
  const [head = "", tail, ...more] = bare.split("::");
  if (more.length > 0) return undefined;
  const front = groupsOf(head, tail === undefined);
  if (front === undefined) return undefined;
  if (tail === undefined) return front.length === 8 ? front : undefined;
  const back = groupsOf(tail, true);
  const zeros = 8 - front.length - (back?.length ?? 0);
  return back === undefined || zeros < 1 ? undefined : [...front, ...new Array(zeros).fill(0), ...back];
}

/** The groups of a part of an IPv6 address. `atEnd`: the last two may be written as an IPv4 address. */
function groupsOf(text: string, atEnd: boolean): number[] | undefined {
  if (text === "") return [];
  const parts = text.split(":");
  const last = atEnd && parts.at(-1)?.includes(".") ? bytesOf(parts.pop() as string) : null;
  if (last === undefined || !parts.every((part) => /^[\da-fA-F]{1,4}$/.test(part))) return undefined;
  const groups = parts.map((part) => Number.parseInt(part, 16));
  return last === null ? groups : [...groups, ...groupsOfBytes(last)];
}

function isV4(address: Address): boolean {
  return address[5] === 0xffff && address.every((group, i) => group === 0 || i >= 5);
}

/** What counts as one client: an IPv4 address, or the network of `prefix` bits of an IPv6 address. */
export function keyOfAddress(address: Address, prefix: number): string {
  if (isV4(address)) {
    const [high, low] = address.slice(6) as [number, number];
    return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
  }
  return `${address.map((group, i) => (group & maskOf(prefix, i)).toString(16)).join(":")}/${prefix}`;
}

/** The bits of group i that are among the first `prefix` bits of an address. */
function maskOf(prefix: number, i: number): number {
  const bits = Math.min(Math.max(prefix - 16 * i, 0), 16);
  return (0xffff << (16 - bits)) & 0xffff;
}

/** A network: the addresses that begin with the same bits. */
export interface Network {
  readonly address: Address;
  readonly prefix: number;
}

/** The network that a text is: `10.0.0.0/8`, `2001:db8::/32`, or one address. Undefined if it is none. */
export function parseNetwork(text: string): Network | undefined {
  const [, before = "", bits] = /^([^/]*)(?:\/(\d{1,3}))?$/.exec(text) ?? [];
  const v4 = !before.includes(":");
  const address = v4 ? parseV4(before) : parseV6(before);
  if (address === undefined || before.includes("%")) return undefined;
  const prefix = bits === undefined ? 128 : Number(bits) + (v4 ? 96 : 0);
  return prefix <= 128 ? { address, prefix } : undefined;
}

function contains({ address, prefix }: Network, other: Address): boolean {
  return address.every((group, i) => ((group ^ (other[i] as number)) & maskOf(prefix, i)) === 0);
}

/** How many addresses of a header are looked at: more than there are proxies in front of any server. */
const MAX_PROXIES = 32;

/**
 * The address of the client, from that of the socket and the header `X-Forwarded-For`. Each proxy has added the address
 * that it was called from at the right, so the header is read from there, up to the first address that is no proxy's.
 * What stands further left may be forged.
 *
 * `trust`: how many proxies there are, or their networks. The address of the socket if the header has what is no
 * address where one is looked for, or more than MAX_PROXIES of them. Undefined if there is no address at all.
 */
export function clientOf(
  socket: string,
  forwarded: string | undefined,
  trust: number | readonly Network[],
): Address | undefined {
  const peer = parseAddress(socket);
  let client = peer;
  let end = forwarded?.length ?? -1;
  for (let seen = 0; end >= 0 && isProxy(client, seen, trust); seen++) {
    if (seen === MAX_PROXIES) return peer;
    const comma = end === 0 ? -1 : (forwarded as string).lastIndexOf(",", end - 1);
    const next = parseAddress((forwarded as string).slice(comma + 1, end).trim());
    if (next === undefined) return peer;
    client = next;
    end = comma;
  }
  return client;
}

function isProxy(address: Address | undefined, seen: number, trust: number | readonly Network[]): boolean {
  if (typeof trust === "number") return seen < trust;
  return address !== undefined && trust.some((network) => contains(network, address));
}
