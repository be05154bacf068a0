/**
 * gopark: Go's concurrency discipline for TypeScript.
 *
 * Exports the most used names directly, and each module but `select`, `go` and `retry` as a namespace, so that code
 * reads as in Go. (`retry` carries its other values itself: `retry.permanent`. The types of `select` and `retry` come
 * from their own paths only.) What calls and serves HTTP (`http`, `admission`, `signal`), what asks Redis (`redis`),
 * and what watches a program in production (`metrics`, `trace`) comes from its own path only.
 */

export * as breaker from "./breaker.ts";
export * as channel from "./channel.ts";
export { Channel, ClosedChannelError, type Received } from "./channel.ts";
export type { Cancel, Context } from "./context.ts";
export * as context from "./context.ts";
export * as errgroup from "./errgroup.ts";
export { go } from "./go.ts";
export * as leak from "./leak.ts";
export * as pipeline from "./pipeline.ts";
export * as pool from "./pool.ts";
export * as rate from "./rate.ts";
export { retry } from "./retry.ts";
export { select, trySelect } from "./select.ts";
export * as semaphore from "./semaphore.ts";
export * as shardmap from "./shardmap.ts";
export * as singleflight from "./singleflight.ts";
export * as sync from "./sync.ts";
export * as time from "./time.ts";
export { after } from "./time.ts";
export * as workers from "./workers.ts";
