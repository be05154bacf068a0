/** SHA-1, compared with Node's. */
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { sha1 } from "../src/internal/data/sha1.ts";

test("is that of Node for texts of every length up to three blocks, and of other characters", () => {
  const texts = Array.from({ length: 200 }, (_, n) => "abcdefghij".repeat(20).slice(0, n));
  texts.push("é€😀".repeat(50), "\0", "x".repeat(100_000));
  for (const text of texts) expect(sha1(text), text).toBe(createHash("sha1").update(text).digest("hex"));
});
