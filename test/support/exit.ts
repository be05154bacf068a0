/** Contexts and signals that end waits in random programs. */
import { background, type Cancel, withCancel } from "gopark/context";
import type { Random } from "./random.ts";

/** A context, the signal of one, or a signal of the host's. */
export interface Exit {
  readonly cancel: Cancel;
  readonly end: (reason?: unknown) => void;
  /** For the program to set. */
  ended: boolean;
}

export function anyExit(rnd: Random): Exit {
  if (rnd.bool(0.3)) {
    const controller = new AbortController();
    return { cancel: controller.signal, end: (reason) => controller.abort(reason), ended: false };
  }
  const [ctx, end] = withCancel(background());
  return { cancel: rnd.bool(0.6) ? ctx : ctx.signal, end, ended: false };
}

/** The error of a wait that this has ended. */
export function reasonOf(cancel: Cancel): unknown {
  return "aborted" in cancel ? cancel.reason : cancel.err();
}
