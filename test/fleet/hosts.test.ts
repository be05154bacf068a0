/** The library and two clients in Bun and in Deno. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { hasRedis, Server } from "./support/server.ts";

const path = (name: string) => fileURLToPath(new URL(name, import.meta.url));

describe.runIf(hasRedis)("another host", () => {
  let server: Server;
  beforeAll(async () => {
    server = await Server.start();
  });
  afterAll(() => server.end());

  test.each([
    ["bun", "run"],
    ["deno", "run", "--allow-all"],
  ])("%s", async (host, ...args) => {
    const command = [...args, path("support/host.mjs"), host, String(server.port)];
    const child = spawn(path(`node_modules/.bin/${host}`), command, { stdio: ["ignore", "pipe", "pipe"] });
    const [out, err] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
    const lines = out.trim().split("\n");
    expect(
      lines.map((line) => (line.startsWith("{") ? JSON.parse(line) : line)),
      err,
    ).toEqual(
      ["ioredis", "node-redis"].map((name) => ({
        name,
        allowed: [true, true, false],
        order: [1, 2],
        released: [true, true, true],
        hasFence: true,
        failures: 0,
      })),
    );
    expect(child.exitCode).toBe(0);
  });
});
