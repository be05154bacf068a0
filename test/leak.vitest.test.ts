/** The set-up file for vitest: under it a test that leaks fails, and it alone. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ROOT } from "./support/examples.ts";

/** Runs the tests of test/support/leaky, and returns what became of each, with the first line of its error. */
async function results(): Promise<Record<string, string>> {
  const vitest = join(ROOT, "node_modules/vitest/vitest.mjs");
  const folder = join(ROOT, "test/support/leaky");
  const run = spawn(process.execPath, [vitest, "run", "--reporter=json", "--root", folder], {
    cwd: folder,
    env: { ...process.env, CI: "" },
  });
  let out = "";
  let err = "";
  run.stdout.on("data", (chunk) => (out += chunk));
  run.stderr.on("data", (chunk) => (err += chunk));
  await new Promise((resolve) => run.on("close", resolve));
  const start = out.indexOf("{");
  if (start === -1) throw new Error(`no report\n${out}${err}`);
  const report = JSON.parse(out.slice(start));
  const tests = report.testResults.flatMap((file: { assertionResults: unknown[] }) => file.assertionResults);
  return Object.fromEntries(
    tests.map((it: { title: string; status: string; failureMessages: string[] }) => {
      const [message = ""] = it.failureMessages;
      return [it.title, `${it.status} ${message.split("\n")[0]}`.trim()];
    }),
  );
}

test("a test that leaks fails alone, among tests that run at the same time", async () => {
  expect(await results()).toEqual({
    "clean before": "passed",
    "leaks a receive": "failed LeakError: found unexpected leaks: 1 chan receive",
    "leaks later": "failed LeakError: found unexpected leaks: 1 chan receive",
    "fails by itself": "failed AssertionError: expected 1 to be 2 // Object.is equality",
    "clean after": "passed",
  });
});
