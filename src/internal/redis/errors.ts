/** The errors of limits that a fleet shares. */
import { brand } from "../host/errors.ts";

/**
 * Redis could not be asked: it did not answer in time, the connection failed, or it answered with an error, which is
 * the `cause`. It says nothing about the limit: a service answers it with 503 or goes on without the limit, never with
 * 429.
 */
export class UnavailableError extends Error {
  static {
    brand(this, "UnavailableError");
  }
}

/**
 * A lease ended before its holder released it: it could not be renewed in time, or Redis does not know it any more. The
 * cause of the end of `lease.ctx`. Another may hold the units now.
 */
export class LostError extends Error {
  static {
    brand(this, "LostError");
  }
}
