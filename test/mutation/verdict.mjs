/** What a mutation run says: which mutants survived, which of them are explained, and whether that is good enough. */

/** The least part of the covered, unexplained mutants that the tests must kill. */
export const WANTED = 0.96;

/**
 * Where each status of Stryker's report belongs. Killed are also those whose run failed outside of a test, by an
 * unhandled rejection for instance, as a plain run of the tests would.
 */
function statusOf({ status, statusReason = "" }) {
  switch (status) {
    case "Killed":
      return "killed";
    case "Timeout":
      return "timedOut";
    case "Survived":
      return "survived";
    case "NoCoverage":
      return "uncovered";
    case "Ignored":
      return "static";
    case "RuntimeError":
      // Ended by runs.ts.
      if (/the thread is stuck/.test(statusReason)) return "timedOut";
      // What vitest says of its own messages between threads, on a machine that is too busy, is no fault of the
      // mutant's.
      return /outside of a test run/.test(statusReason) && !/Timeout calling/.test(statusReason) ? "killed" : "failed";
    default:
      return "failed";
  }
}

const squeeze = (text) => text.replaceAll(/\s+/g, " ").trim();

/**
 * The mutants of one file of Stryker's JSON report, in the order of the source, whatever the order of
 * the report. `original` and `mutated` are the whole
 * lines that the mutant is in, on one line: that is what tells `true` -> `false` here from the same there.
 */
export function mutantsOf(report, file) {
  const { source, mutants } = report.files[file];
  const lines = source.split("\n");
  const tests = new Map(
    Object.entries(report.testFiles ?? {}).flatMap(([path, { tests }]) =>
      tests.map(({ id, name }) => [id, path === "" ? name : `${path}: ${name}`]),
    ),
  );
  return mutants
    .map((mutant) => {
      const { start, end } = mutant.location;
      const before = lines[start.line - 1].slice(0, start.column - 1);
      const after = lines[end.line - 1].slice(end.column - 1);
      return {
        file,
        line: start.line,
        column: start.column,
        mutator: mutant.mutatorName,
        status: statusOf(mutant),
        original: squeeze(lines.slice(start.line - 1, end.line).join("\n")),
        mutated: squeeze(`${before}${mutant.replacement}${after}`),
        reason: mutant.statusReason,
        coveredBy: (mutant.coveredBy ?? []).map((id) => tests.get(id) ?? id),
        killedBy: (mutant.killedBy ?? []).map((id) => tests.get(id) ?? id),
      };
    })
    .sort((a, b) => a.line - b.line || a.column - b.column || (a.mutated < b.mutated ? -1 : 1));
}

/** Throws for an explanation that is none. */
export function checkExplanations(explanations) {
  if (!Array.isArray(explanations)) throw new Error("survivors.json: want an array");
  const seen = new Set();
  for (const explanation of explanations) {
    const { file, original, mutated, reason, count = 1, ...rest } = explanation;
    const place = `survivors.json: ${JSON.stringify(explanation).slice(0, 100)}`;
    for (const [name, value] of Object.entries({ file, original, mutated, reason })) {
      if (typeof value !== "string" || value.trim() === "") throw new Error(`${place}: "${name}" is missing`);
    }
    if (!Number.isInteger(count) || count < 1) throw new Error(`${place}: "count" must be a whole number from 1`);
    if (Object.keys(rest).length > 0) throw new Error(`${place}: unknown: ${Object.keys(rest)}`);
    if (seen.has(keyOf(explanation))) throw new Error(`${place}: twice; state a "count"`);
    seen.add(keyOf(explanation));
  }
}

const keyOf = ({ file, original, mutated }) => JSON.stringify([file, original, mutated]);

/**
 * Judges the mutants of one file. `explanations` are those of survivors.json; the ones of other files do not matter. An
 * explanation is stale if fewer mutants survive than it explains. `part` says that the mutants are not all of the
 * file's: then no explanation is stale.
 */
export function judge(file, mutants, explanations, part = false) {
  const by = { killed: [], timedOut: [], survived: [], uncovered: [], static: [], failed: [] };
  for (const mutant of mutants) by[mutant.status].push(mutant);

  const explained = [];
  const stale = [];
  const open = new Set(by.survived);
  for (const explanation of explanations.filter((e) => e.file === file)) {
    const { count = 1, reason } = explanation;
    const same = mutants.filter((m) => keyOf(m) === keyOf(explanation));
    const found = same.filter((m) => m.status === "survived").slice(0, count);
    for (const mutant of found) {
      open.delete(mutant);
      explained.push({ ...mutant, why: reason });
    }
    if (found.length < count && !part) {
      const now = same.map((m) => m.status).join(", ");
      stale.push({ ...explanation, now: now === "" ? "no such mutant" : now });
    }
  }

  const unexplained = [...open];
  const dead = by.killed.length + by.timedOut.length;
  const score = dead / (dead + unexplained.length);
  // Without a covered mutant there is no score, and nothing to blame the tests for.
  const ok = !(score < WANTED) && stale.length === 0;
  return { file, mutants: mutants.length, ...by, explained, unexplained, stale, score, ok };
}

/** Both texts, cut down to about a line around what differs. */
export function change({ original, mutated }) {
  if (original.length <= 90 && mutated.length <= 90) return `${original}  ->  ${mutated}`;
  let front = 0;
  while (front < Math.min(original.length, mutated.length) && original[front] === mutated[front]) front++;
  let back = 0;
  const most = Math.min(original.length, mutated.length) - front;
  while (back < most && original.at(-1 - back) === mutated.at(-1 - back)) back++;
  const cut = (text) => {
    const left = Math.max(0, front - 30);
    const right = Math.min(text.length, text.length - back + 30);
    const middle = text.slice(left, right);
    const short = middle.length > 120 ? `${middle.slice(0, 70)} … ${middle.slice(-40)}` : middle;
    return `${left > 0 ? "…" : ""}${short}${right < text.length ? "…" : ""}`;
  };
  return `${cut(original)}  ->  ${cut(mutated)}`;
}

export const percent = (score) => (Number.isNaN(score) ? "none" : `${(100 * score).toFixed(1)} %`);

const list = (title, mutants, line) => (mutants.length === 0 ? [] : ["", title, ...mutants.map((m) => `  ${line(m)}`)]);
const brief = (mutant) => `${mutant.file}:${mutant.line}  ${change(mutant)}`;

/** The verdict in words. */
export function words(verdict) {
  const { killed, timedOut, survived, explained, unexplained, uncovered, failed, stale, score, ok } = verdict;
  return [
    `${verdict.file}: ${verdict.mutants} mutants, score of the covered and unexplained ${percent(score)}`,
    `  ${killed.length} killed, ${timedOut.length} timed out`,
    `  ${survived.length} survivors, ${explained.length} of them explained`,
    `  apart: ${uncovered.length} without coverage, ${verdict.static.length} static, ${failed.length} failed`,
    ...list("Survivors:", unexplained, brief),
    ...list("Explained survivors:", explained, (m) => `${brief(m)}\n      ${m.why}`),
    ...list("Without coverage, no test runs them:", uncovered, brief),
    ...list("Static, run only while the module is loaded, and not tried:", verdict.static, brief),
    ...list("Failed, not counted:", failed, (m) => `${brief(m)}\n      ${m.reason}`),
    ...list(
      "Stale in test/mutation/survivors.json, to be removed or counted anew:",
      stale,
      (e) => `${e.file}  ${change(e)}\n      now: ${e.now}; it explains ${e.count ?? 1}`,
    ),
    "",
    ok ? "passed" : `FAILED: want ${percent(WANTED)} and no stale explanation`,
  ].join("\n");
}

/** All there is to know about each survivor that is not explained, with the entry that would explain it. */
export function details({ unexplained }) {
  return unexplained
    .map((mutant) => {
      const { file, line, column, mutator, original, mutated, coveredBy } = mutant;
      const more = coveredBy.length > 8 ? [`    and ${coveredBy.length - 8} more`] : [];
      return [
        `${file}:${line}:${column} ${mutator}`,
        `  - ${original}`,
        `  + ${mutated}`,
        `  run by ${coveredBy.length} tests:`,
        ...coveredBy.slice(0, 8).map((name) => `    ${name}`),
        ...more,
        `  ${JSON.stringify({ file, original, mutated, reason: "" })}`,
        "",
      ].join("\n");
    })
    .join("\n");
}

/** A page of all verdicts. */
export function summary(verdicts) {
  const cells = (v) => [
    `${v.file}${v.ok ? "" : " **failed**"}`,
    v.mutants,
    v.killed.length,
    v.timedOut.length,
    v.survived.length,
    v.explained.length,
    v.uncovered.length,
    v.static.length,
    v.failed.length,
    v.stale.length,
    percent(v.score),
  ];
  const row = (values) => `| ${values.join(" | ")} |`;
  const heads = ["mutants", "killed", "timed out", "survived", "explained", "no coverage", "static", "failed", "stale"];
  return [
    "# Mutants",
    "",
    row(["file", ...heads, "score"]),
    row(["---", ...[...heads, "score"].map(() => "---:")]),
    ...verdicts.map((v) => row(cells(v))),
    "",
    ...verdicts.flatMap((v) => [`## ${v.file}`, "", "```text", words(v), "```", ""]),
  ].join("\n");
}
