/** All rows, by the file that holds them. */
import { rows as breaker } from "./breaker.bench.ts";
import { rows as channel } from "./channel.bench.ts";
import { rows as context } from "./context.bench.ts";
import { rows as errgroup } from "./errgroup.bench.ts";
import { rows as pipeline } from "./pipeline.bench.ts";
import { rows as pool } from "./pool.bench.ts";
import { rows as pprof } from "./pprof.bench.ts";
import { rows as rate } from "./rate.bench.ts";
import { rows as retry } from "./retry.bench.ts";
import { rows as select } from "./select.bench.ts";
import { rows as semaphore } from "./semaphore.bench.ts";
import { rows as shardmap } from "./shardmap.bench.ts";
import { rows as singleflight } from "./singleflight.bench.ts";
import type { Row } from "./support/row.ts";
import { rows as sync } from "./sync.bench.ts";
import { rows as time } from "./time.bench.ts";
import { rows as workers } from "./workers.bench.ts";

export const files: Readonly<Record<string, readonly Row[]>> = {
  channel,
  select,
  context,
  time,
  semaphore,
  errgroup,
  pipeline,
  rate,
  pool,
  shardmap,
  breaker,
  retry,
  singleflight,
  sync,
  workers,
  pprof,
};

export const rows: readonly Row[] = Object.values(files).flat();
