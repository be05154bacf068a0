/** The promises of the cured gateway, and the records of both sides, checked on what was recorded. */
import { cpus } from "node:os";
import { capacity, limits } from "./config.ts";
import { compareRecords, lateness, type PhaseFigures, type RecordComparison, type Run } from "./figures.ts";

export interface Check {
  promise: string;
  found: string;
  kept: boolean;
  /** Whether a machine that is busy elsewhere can break it. */
  timed: boolean;
}

/** What a replay says. It says nothing if all that was missed is times, and the machine had other work to do. */
export type Verdict = "kept" | "broken" | "inconclusive";

export interface Judged extends Check {
  verdict: Verdict;
}

/** The exit codes of the replay; 75 is sysexits' "try again". */
export const exitCodes: Readonly<Record<Verdict, number>> = { kept: 0, broken: 1, inconclusive: 75 };

/** Judges the checks of a run during which the machine was busy elsewhere, or was not. */
export function judged(checks: readonly Check[], busy: boolean): Judged[] {
  return checks.map((check) => {
    const missed = check.timed && busy ? "inconclusive" : "broken";
    return { ...check, verdict: check.kept ? "kept" : missed };
  });
}

/** The one verdict on all checks. */
export function verdictOf(checks: readonly Judged[]): Verdict {
  const has = (verdict: Verdict) => checks.some((check) => check.verdict === verdict);
  return has("broken") ? "broken" : has("inconclusive") ? "inconclusive" : "kept";
}

/** The promises of the cured gateway, in the order of docs/surge.md. */
export function promises(run: Run, figures: PhaseFigures): Check[] {
  const { normal, surge, recovery } = figures;
  const { drained } = run;
  const admitted = normal.admitted + surge.admitted + recovery.admitted;
  const errors = normal.errors + surge.errors + recovery.errors;
  return [
    {
      promise: "through the surge, goodput at least 90 % of the upstream's capacity",
      found: `${surge.served.toFixed(1)} of ${capacity} orders/s, ${percent(surge.served / capacity)}`,
      kept: surge.served >= capacity * 0.9,
      timed: true,
    },
    {
      promise: "served P99 under the deadline",
      found: `${surge.p99.toFixed(0)} of ${limits.deadlineMs} ms in the surge, ${recovery.p99.toFixed(0)} after it`,
      kept: surge.p99 < limits.deadlineMs && recovery.p99 < limits.deadlineMs,
      timed: true,
    },
    {
      promise: "errors of admitted orders under 0.1 %",
      found: `${surge.errors} of ${surge.admitted} in the surge, ${errors} of ${admitted} in total`,
      kept: surge.errors < surge.admitted / 1000 && errors < admitted / 1000,
      timed: true,
    },
    {
      promise: "after the surge, parked tasks back where they were",
      found:
        `${recovery.settledParked} (median) after it, up to ${normal.peakParked} before it; ` +
        `idle ${drained.parkedAtEnd}, at start ${drained.parkedAtStart}`,
      kept: recovery.settledParked <= normal.peakParked && drained.parkedAtEnd === drained.parkedAtStart,
      timed: drained.parkedAtEnd === drained.parkedAtStart,
    },
    {
      promise: "nothing leaked (leak.verifyNone)",
      found: drained.leaks ?? "nothing",
      kept: drained.leaks === undefined,
      timed: false,
    },
  ];
}

/**
 * Whether the machine was busy elsewhere. Either the generator, idle nine tenths of its time, did not get the processor
 * when it was due; or the gateway's event loop stood still while the gateway used little of its core, so it was waiting
 * for one; or other programs used so many of the machine's processors that the replay could not have what it needs. The
 * times of such a run measure the machine.
 */
export function machineBusy(run: Run, processors: number = cpus().length): boolean {
  if (!keptUp(run)) return true;
  if (Object.values(run.vitals).some(({ loopP99, cpu }) => loopP99 > maxLatenessMs && cpu < ownWork)) return true;
  return Object.values(run.others).some((used) => used > fewOthers && processors - used < needed);
}

/** Whether the generator sent its orders when they were due. */
export function keptUp(run: Run): boolean {
  return lateness(run).p99 <= maxLatenessMs;
}

/** The greatest lateness at P99 with which the generator counts as on time; the same for the delay of an event loop. */
const maxLatenessMs = 50;

/** How many processors the replay needs: one for the gateway, half a one for the upstream and generator together. */
const needed = 1.5;

/** A machine with one processor never has what is needed. There other programs may use this much of it. */
const fewOthers = 0.3;

/** A gateway that uses this share of a core may be late through its own work. */
const ownWork = 0.75;

/** Whether the records of both sides agree. They do for any gateway, or the replay itself is wrong. */
export function recordsAgree(run: Run): Check {
  const records = compareRecords(run);
  return {
    promise: `${run.variant}: every order the upstream accepted is accounted for`,
    found: summary(records),
    kept: records.unaccounted === 0 && records.unbacked === 0,
    timed: false,
  };
}

function summary(records: RecordComparison): string {
  const parts = [
    `${records.accepted} accepted = ${records.answered} answered + ${records.cutOff} cut off by a deadline`,
    ...(records.unaccounted > 0 ? [`+ ${records.unaccounted} unaccounted`] : []),
    ...(records.unbacked > 0 ? [`; ${records.unbacked} answered but never accepted`] : []),
  ];
  return parts.join(" ");
}

export function percent(share: number): string {
  if (Number.isNaN(share)) return "–";
  const value = share * 100;
  return `${value === 0 || value >= 10 ? value.toFixed(0) : value.toFixed(2)} %`;
}
