/** The pair of a context and its cancel function, which is its disposer too. */
import type { CancelFunc, CancelScope, Context } from "../../context.ts";

// Not `cancel` itself, which is a bound function: `using` in Node 24 (V8 13.6) takes none.
function dispose(this: CancelScope): void {
  this.cancel();
}

/** Makes the pair. A true array: an iterable class, or a prototype of its own, would cost more than the context. */
export function scopeWith(ctx: Context, cancel: CancelFunc): CancelScope {
  const scope = [ctx, cancel] as unknown as { ctx: Context; cancel: CancelFunc; [Symbol.dispose]: () => void };
  scope.ctx = ctx;
  scope.cancel = cancel;
  if (Symbol.dispose !== undefined) scope[Symbol.dispose] = dispose;
  return scope as unknown as CancelScope;
}
