/** A row of the comparison, as the files `bench/*.bench.ts` export it. */

/** One contender: does `ops` operations per call and throws if their result is wrong. */
export type Run = () => void | Promise<void>;

export interface Row {
  /** The row's name in all contenders: `chan.stream`. */
  readonly id: string;
  /** The work of a row, and after the colon one operation. */
  readonly what: string;
  /** Operations per call. */
  readonly ops: number;
  readonly ours: Run;
  /** The same work with bare promises, or with the host's own means. */
  readonly floor?: Run;
  /** What the floor does, if it is not the same hand-off with bare promises. */
  readonly floorIs?: string;
  /** The row of the Go contender that does this work, if its name differs. */
  readonly goRow?: string;
  /** Upper bounds of ours ÷ that contender: `floor`, `go` (at GOMAXPROCS=1), or a peer's name. */
  readonly targets?: Readonly<Record<string, number>>;
  /** A row that does a part of this one's work: the difference is reported too. */
  readonly beyond?: string;
  /**
   * Whether a call takes seconds. Such a row is measured with one set of processes only, and left out of `--quick`,
   * `--guard` and `--against` unless it is named.
   */
  readonly slow?: boolean;
  /** The bounds where a target is out of reach, and why it is. */
  readonly next?: NextBest;
}

export interface NextBest {
  /** Like a row's targets. */
  readonly targets: Readonly<Record<string, number>>;
  readonly why: string;
}

/** Throws unless a contender's result is right. */
export function check(got: unknown, want: unknown): void {
  if (got !== want) throw new Error(`wrong result: ${String(got)} instead of ${String(want)}`);
}
