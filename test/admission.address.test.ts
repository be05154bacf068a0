/** Addresses of clients: what counts as one client, and whom a forged header cannot make of one. */
import { isIP, isIPv6 } from "node:net";
import { describe, expect, test } from "vitest";
import { clientOf, keyOfAddress, type Network, parseAddress, parseNetwork } from "../src/internal/admission/address.ts";
import { random } from "./support/random.ts";

const key = (text: string, prefix = 64) => {
  const address = parseAddress(text);
  return address === undefined ? undefined : keyOfAddress(address, prefix);
};
const networks = (...texts: string[]) => texts.map((text) => parseNetwork(text) as Network);
const client = (socket: string, forwarded: string | undefined, trust: number | readonly Network[]) => {
  const address = clientOf(socket, forwarded, trust);
  return address === undefined ? undefined : keyOfAddress(address, 128);
};

describe("what counts as one client", () => {
  test.each([
    ["1.2.3.4", "1.2.3.4"],
    ["1.2.3.4:8080", "1.2.3.4"],
    ["::ffff:1.2.3.4", "1.2.3.4"],
    ["::FFFF:102:304", "1.2.3.4"],
    ["[::ffff:1.2.3.4]:80", "1.2.3.4"],
    ["0:0:0:0:0:ffff:1.2.3.4", "1.2.3.4"],
    ["255.255.255.255", "255.255.255.255"],
    ["0.0.0.0", "0.0.0.0"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2:0:0:0:0/64"],
    ["2001:DB8:1:2::", "2001:db8:1:2:0:0:0:0/64"],
    ["[2001:db8:1:2::1]", "2001:db8:1:2:0:0:0:0/64"],
    ["[2001:db8:1:2::1]:443", "2001:db8:1:2:0:0:0:0/64"],
    ["fe80::1%eth0", "fe80:0:0:0:0:0:0:0/64"],
    ["::1", "0:0:0:0:0:0:0:0/64"],
    ["::", "0:0:0:0:0:0:0:0/64"],
    ["::fffe:1.2.3.4", "0:0:0:0:0:0:0:0/64"],
    ["1::ffff:1.2.3.4", "1:0:0:0:0:0:0:0/64"],
  ])("%s is %s", (text, wanted) => {
    expect(key(text)).toBe(wanted);
  });

  test.each([
    "",
    " ",
    "xx",
    "unknown",
    "_hidden",
    "1.2.3",
    "1.2.3.4.5",
    "1.2.3.256",
    "01.2.3.4",
    "1.2.3.4 ",
    "1.2.3.-4",
    "1.2.3.0x4",
    "1.2..4",
    "1.2.3.4:",
    "1.2.3.4:port",
    "1.2.3.4:123456",
    ":80",
    "[::1",
    "::1]",
    "[::1]x",
    "[::1]:",
    "[1.2.3.4]",
    ":::",
    "1::2::3",
    "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9",
    "1:2:3:4:5:6:7::8:9",
    "12345::",
    "g::",
    "::1.2.3",
    "1.2.3.4::",
    "::1.2.3.4:5",
    "::-1",
    "constructor",
    "__proto__",
    "[]",
    "[]:1",
    "9".repeat(100),
    `::${"0".repeat(100)}1`,
  ])("%s is no address", (text) => {
    expect(key(text)).toBeUndefined();
  });

  test.each([
    [1, "0:0:0:0:0:0:0:0/1"],
    [16, "2001:0:0:0:0:0:0:0/16"],
    [20, "2001:f000:0:0:0:0:0:0/20"],
    [56, "2001:ffff:ffff:ff00:0:0:0:0/56"],
    [127, "2001:ffff:ffff:ffff:ffff:ffff:ffff:fffe/127"],
    [128, "2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128"],
  ])("the first %i bits of an IPv6 address", (prefix, wanted) => {
    expect(key("2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", prefix)).toBe(wanted);
    expect(key("1.2.3.4", prefix)).toBe("1.2.3.4");
  });

  test("random texts are addresses where node:net says so, and are read as the host reads them", () => {
    const rnd = random(20_251_129);
    let addresses = 0;
    for (let i = 0; i < 50_000; i++) {
      const pieces = ["::", ":", ".", "0", "1", "ff", "255", "256", "abcd", "10000", "1.2.3.4", "2001", "g", "00", "%"];
      let text = "";
      if (rnd.bool(0.5)) {
        text = Array.from({ length: 8 }, () => rnd.pick(["0", "1", "ffff", "0a"])).join(":");
        if (rnd.bool(0.7)) text = text.replace(/(?:\w+:){1,4}/, ":".repeat(rnd.int(1, 2)));
        if (rnd.bool(0.3)) text = text.replace(/\w+:\w+$/, "1.2.3.4");
      } else {
        for (let n = rnd.int(1, 9); n > 0; n--) text += rnd.pick(pieces);
      }
      if (text.includes("%") || /^[^:]*:\d{1,5}$/.test(text)) continue; // A zone, or a port.
      expect([text, parseAddress(text) !== undefined]).toEqual([text, isIP(text) !== 0]);
      if (!isIPv6(text)) continue;
      addresses++;
      const again = parseAddress(new URL(`http://[${text}]/`).hostname);
      expect([text, parseAddress(text)]).toEqual([text, again]);
    }
    expect(addresses).toBeGreaterThan(1000);
  });
});

describe("networks", () => {
  test.each([
    ["10.0.0.0/8", "10.255.0.1", true],
    ["10.0.0.0/8", "11.0.0.0", false],
    ["10.0.0.0/8", "::ffff:10.1.2.3", true],
    ["10.1.2.3", "10.1.2.3", true],
    ["10.1.2.3", "10.1.2.4", false],
    ["0.0.0.0/0", "1.2.3.4", true],
    ["0.0.0.0/0", "2001::", false],
    ["::/0", "1.2.3.4", true],
    ["2001:db8::/33", "2001:db8:7fff::1", true],
    ["2001:db8::/33", "2001:db8:8000::1", false],
    ["::1", "::1", true],
    ["192.168.4.0/22", "192.168.7.255", true],
    ["192.168.4.0/22", "192.168.8.0", false],
  ])("%s has %s: %s", (network, address, wanted) => {
    expect(client(address, "9.9.9.9", networks(network))).toBe(wanted ? "9.9.9.9" : client(address, undefined, 0));
  });

  test.each([
    "",
    "x",
    "10.0.0.0/33",
    "::/129",
    "10.0.0.0/",
    "10.0.0.0/-1",
    "10.0.0.0/8/8",
    "[::1]",
    "fe80::1%1",
    "10.0.0.1:80",
    "/8",
  ])("%s is none", (text) => {
    expect(parseNetwork(text)).toBeUndefined();
  });
});

describe("a header that may be forged", () => {
  const proxy = "10.0.0.1";

  test("is not read if nothing is trusted", () => {
    expect(client("1.1.1.1", "9.9.9.9", 0)).toBe("1.1.1.1");
    expect(client("1.1.1.1", "9.9.9.9", [])).toBe("1.1.1.1");
    expect(client("1.1.1.1", "9.9.9.9", networks("10.0.0.0/8"))).toBe("1.1.1.1");
  });

  test.each([
    ["one proxy: the last entry, whatever stands before it", "6.6.6.6, 9.9.9.9", 1, "9.9.9.9"],
    ["two proxies", "6.6.6.6, 9.9.9.9, 10.0.0.2", 2, "9.9.9.9"],
    ["fewer entries than proxies: the first one", "9.9.9.9", 3, "9.9.9.9"],
    ["no header", undefined, 1, proxy],
    ["spaces and tabs", "6.6.6.6 ,\t 9.9.9.9 \t", 1, "9.9.9.9"],
    ["a port", "9.9.9.9:1234", 1, "9.9.9.9"],
    ["an empty header", "", 1, proxy],
    ["an empty entry at the end", "9.9.9.9,", 1, proxy],
    ["an empty entry at the beginning", ",9.9.9.9", 2, proxy],
    ["no address", "9.9.9.9, xx", 1, proxy],
    ["no address further left than is looked", "xx, 9.9.9.9", 1, "9.9.9.9"],
    ["no address where the second is looked for", "xx, 9.9.9.9", 2, proxy],
    ["a very long entry", `${"9".repeat(10_000)}`, 1, proxy],
    ["8000 entries", "6.6.6.6, ".repeat(7999).concat("9.9.9.9"), 1, "9.9.9.9"],
    ["8000 entries, and as many proxies", "10.0.0.1, ".repeat(7999).concat("9.9.9.9"), 8000, proxy],
    ["32 entries, and as many proxies", "10.0.0.1, ".repeat(31).concat("10.0.0.9"), 32, "10.0.0.1"],
  ])("%s", (_, forwarded, trust, wanted) => {
    expect(client(proxy, forwarded, trust)).toBe(wanted);
  });

  test.each([
    ["the rightmost that is no proxy", "6.6.6.6, 9.9.9.9, 10.0.0.2", "9.9.9.9"],
    ["all are proxies: the first one", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
    ["8000 proxies", "10.0.0.2, ".repeat(7999).concat("10.0.0.2"), proxy],
    ["an entry that is none after a proxy", "xx, 10.0.0.2", proxy],
  ])("with networks: %s", (_, forwarded, wanted) => {
    expect(client(proxy, forwarded, networks("10.0.0.0/8"))).toBe(wanted);
  });

  test("a socket without an address, as one of the file system: the header of counted proxies counts", () => {
    expect(client("", "9.9.9.9", 1)).toBe("9.9.9.9");
    expect(client("", undefined, 1)).toBeUndefined();
    expect(client("", "9.9.9.9", networks("0.0.0.0/0", "::/0"))).toBeUndefined();
  });

  test("is read in time that does not grow with it", () => {
    const short = "6.6.6.6, ".repeat(10).concat("9.9.9.9");
    const long = "6.6.6.6, ".repeat(100_000).concat("9.9.9.9");
    let looked = 0;
    const counting = (text: string) =>
      ({
        length: text.length,
        lastIndexOf: (c: string, at: number) => text.lastIndexOf(c, looked++ < 0 ? 0 : at),
        slice: text.slice.bind(text),
      }) as never;
    client(proxy, counting(short), 1);
    client(proxy, counting(long), 1);
    expect(looked).toBe(2);
  });
});
