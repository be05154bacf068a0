/**
 * The methods that `using` calls, on hosts that know it. On others `Symbol.dispose` is undefined, and a method declared
 * under it would be one called "undefined"; so classes declare the type and are given the method here.
 *
 * A file whose types mention these symbols begins with `/// <reference lib="esnext.disposable" preserve="true" />`, for
 * consumers whose `lib` does not have them.
 */
export function disposable<T extends object>(target: T, dispose: (this: T) => void): void {
  define(target, Symbol.dispose, dispose);
}

export function asyncDisposable<T extends object>(target: T, dispose: (this: T) => Promise<void>): void {
  define(target, Symbol.asyncDispose, dispose);
}

function define(target: object, key: symbol | undefined, value: unknown): void {
  if (key !== undefined) Object.defineProperty(target, key, { value, configurable: true, writable: true });
}
