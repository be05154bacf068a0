/**
 * Stands for vitest in runtimes that vitest does not run in: its own runner, assertions and spies, with fake timers of
 * sinon's as it has them. What the tests use of it, and no more.
 */
import FakeTimers, { type FakeMethod } from "@sinonjs/fake-timers";
import {
  ASYMMETRIC_MATCHERS_OBJECT,
  ChaiStyleAssertions,
  chai,
  customMatchers,
  GLOBAL_EXPECT,
  getState,
  JestAsymmetricMatchers,
  JestChaiExpect,
  JestExtend,
  setState,
} from "@vitest/expect";
import { getCurrentTest } from "@vitest/runner";
import { fn, restoreAllMocks, spyOn } from "@vitest/spy";

export {
  afterAll,
  afterEach,
  beforeAll,
  beforeEach,
  describe,
  it,
  onTestFailed,
  onTestFinished,
  test,
} from "@vitest/runner";

type InstalledClock = ReturnType<typeof FakeTimers.install>;
type Fn = (...args: never[]) => unknown;

chai.use(JestExtend);
chai.use(JestChaiExpect);
chai.use(ChaiStyleAssertions);
chai.use(JestAsymmetricMatchers);

/** As vitest makes its own. */
function createExpect() {
  const expect = ((value: unknown, message?: string) => {
    const assertion = chai.expect(value, message) as unknown as { withTest(test: unknown): unknown };
    const test = getCurrentTest();
    return test === undefined ? assertion : assertion.withTest(test);
  }) as unknown as Record<string, unknown> & Fn;
  Object.assign(expect, chai.expect, (globalThis as Record<PropertyKey, unknown>)[ASYMMETRIC_MATCHERS_OBJECT]);
  const state = { assertionCalls: 0, isExpectingAssertions: false, expectedAssertionsNumber: null };
  setState(state as never, expect as never);
  expect.getState = () => getState(expect as never);
  expect.extend = (matchers: never) => (chai.expect as unknown as { extend: Fn }).extend(expect as never, matchers);
  (expect.extend as Fn)(customMatchers as never);
  expect.poll = (fn: () => unknown, { timeout = 1000, interval = 10 } = {}) =>
    new Proxy({}, { get: (_, matcher) => polling(fn, String(matcher), timeout, interval) });
  Object.defineProperty(globalThis, GLOBAL_EXPECT, { value: expect, writable: true, configurable: true });
  return expect;
}

/** A matcher that resolves as soon as what `fn` returns passes. */
function polling(fn: () => unknown, matcher: string, timeout: number, interval: number) {
  return async (...args: unknown[]) => {
    const end = performance.now() + timeout;
    for (;;) {
      try {
        (expect((await fn()) as never) as unknown as Record<string, (...args: unknown[]) => void>)[matcher]?.(...args);
        return;
      } catch (error) {
        if (performance.now() > end) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, interval));
    }
  };
}

export const expect = createExpect();

/** Types are checked by the compiler. */
export function expectTypeOf(): unknown {
  const anything: unknown = new Proxy(() => anything, { get: () => anything });
  return anything;
}

let clock: InstalledClock | undefined;
let dateAlone: InstalledClock | undefined;
const globals = new Map<PropertyKey, PropertyDescriptor | undefined>();
const LEFT_REAL = ["nextTick", "queueMicrotask"];

/** Skips the test that is running. */
function lacking(what: string): () => void {
  return () => getCurrentTest()?.context.skip(`only vitest itself has ${what}`);
}

function faked(): InstalledClock {
  if (clock === undefined) throw new Error("useFakeTimers has not been called");
  return clock;
}

export const vi = {
  fn,
  spyOn,
  restoreAllMocks,
  mocked: <T>(value: T): T => value,

  useFakeTimers({ now = Date.now(), toFake }: { now?: number | Date; toFake?: FakeMethod[] } = {}) {
    clock?.uninstall();
    const all = Object.keys(FakeTimers.timers) as FakeMethod[];
    clock = FakeTimers.install({
      now,
      toFake: toFake ?? all.filter((name) => !LEFT_REAL.includes(name)),
      ignoreMissingTimers: true,
    });
    return vi;
  },
  useRealTimers() {
    clock?.uninstall();
    dateAlone?.uninstall();
    clock = dateAlone = undefined;
    return vi;
  },
  isFakeTimers: () => clock !== undefined,
  advanceTimersByTime: (ms: number) => void faked().tick(ms),
  advanceTimersByTimeAsync: async (ms: number) => void (await faked().tickAsync(ms)),
  advanceTimersToNextTimer: () => void faked().next(),
  advanceTimersToNextTimerAsync: async () => void (await faked().nextAsync()),
  runOnlyPendingTimers: () => void faked().runToLast(),
  runAllTimersAsync: async () => void (await faked().runAllAsync()),
  clearAllTimers: () => faked().reset(),
  getTimerCount: () => faked().countTimers(),
  /** Without fake timers only Date is faked. */
  setSystemTime(at: number | Date) {
    if (clock !== undefined) return clock.setSystemTime(at);
    dateAlone?.uninstall();
    dateAlone = FakeTimers.install({ now: at, toFake: ["Date"] });
  },

  resetModules: lacking("modules that are loaded anew"),
  doMock: lacking("mocks of modules"),
  doUnmock: lacking("mocks of modules"),
  stubEnv: lacking("an environment of its own"),
  unstubAllEnvs() {},

  stubGlobal(name: PropertyKey, value: unknown) {
    if (!globals.has(name)) globals.set(name, Object.getOwnPropertyDescriptor(globalThis, name));
    Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: true });
  },
  unstubAllGlobals() {
    for (const [name, before] of globals) {
      if (before === undefined) Reflect.deleteProperty(globalThis, name);
      else Object.defineProperty(globalThis, name, before);
    }
    globals.clear();
  },
};
