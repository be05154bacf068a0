/** The pair of a context and its cancel function, which is its disposer too. */
import type { CancelFunc, CancelScope, Context } from "../../context.ts";

/** Makes the pair. A true array: an iterable class, or a prototype of its own, would cost more than the context. */
export function scopeWith(ctx: Context, cancel: CancelFunc): CancelScope {
  const scope = [ctx, cancel] as unknown as { ctx: Context; cancel: CancelFunc; [Symbol.dispose]: CancelFunc };
  scope.ctx = ctx;
  scope.cancel = cancel;
  if (Symbol.dispose !== undefined) scope[Symbol.dispose] = cancel;
  return scope as unknown as CancelScope;
}
