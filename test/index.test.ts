/** The root: some names of their own, and a namespace for each module. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import * as root from "gopark";
import * as channel from "gopark/channel";
import * as context from "gopark/context";
import { go } from "gopark/go";
import * as leak from "gopark/leak";
import { retry } from "gopark/retry";
import { select, trySelect } from "gopark/select";
import * as time from "gopark/time";
import { describe, expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";

const exported: Record<string, unknown> = { ...root };

describe("by name", () => {
  test.each([
    ["Channel", channel.Channel],
    ["ClosedChannelError", channel.ClosedChannelError],
    ["select", select],
    ["trySelect", trySelect],
    ["go", go],
    ["retry", retry],
    ["after", time.after],
  ])("%s is the module's own", (name, value) => {
    expect(value).toBeTypeOf("function");
    expect(exported[name]).toBe(value);
  });

  test("a program needs no other import for what a closed channel does", async () => {
    const { Channel, ClosedChannelError, trySelect } = exported as typeof import("gopark");
    const ch = new Channel<number>();
    expect(trySelect({ ch })).toBeUndefined();
    const sending = ch.send(7);
    expect(trySelect({ ch })).toEqual({ case: "ch", value: 7, ok: true });
    await sending;
    ch.close();
    await expect(ch.send(8)).rejects.toBeInstanceOf(ClosedChannelError);
  });
});

describe("as namespaces", () => {
  test.each([
    ["channel", channel],
    ["context", context],
    ["leak", leak],
    ["time", time],
  ])("%s is the module", (name, module) => {
    expect(exported[name]).toBe(module);
  });

  // `go`, `retry` and `select` are whole by their functions.
  test("every module of the root has one, except those that are their functions", () => {
    const bare = ["Channel", "ClosedChannelError", "select", "trySelect", "go", "retry", "after"];
    const names = Object.keys(exported).filter((name) => !bare.includes(name));
    const wanted = [
      "breaker",
      "channel",
      "context",
      "errgroup",
      "leak",
      "pipeline",
      "pool",
      "rate",
      "semaphore",
      "shardmap",
      "singleflight",
      "time",
      "workers",
    ];
    expect(names).toEqual(expect.arrayContaining(wanted));
    const modules = readdirSync(join(ROOT, "src")).map((file) => file.replace(/\.ts$/, ""));
    expect(names.filter((name) => !modules.includes(name) && typeof exported[name] !== "function")).toEqual([]);
  });
});
