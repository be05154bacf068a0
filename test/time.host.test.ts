/**
 * The host's one timer: when it is armed, whether it keeps the process alive, and what becomes of it while a test has
 * replaced the host's timers. The library is loaded on a host whose timers and clock the test drives.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { alarms, arm, fireDue } from "../src/internal/time/timers.ts";
import { collectReported } from "./support/reported.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

let clock = 0;

class HostTimer {
  keeps = true;
  readonly fn: () => void;
  readonly at: number;

  constructor(fn: () => void, at: number) {
    this.fn = fn;
    this.at = at;
  }

  ref(): void {
    this.keeps = true;
  }

  unref(): void {
    this.keeps = false;
  }
}

/** The timers of a host. It has numbers for them, or objects. */
class HostTimers {
  readonly numbers: boolean;
  readonly made: HostTimer[] = [];
  readonly armed = new Set<HostTimer>();
  cleared = 0;

  constructor(numbers = false) {
    this.numbers = numbers;
  }

  readonly setTimeout = (fn: () => void, ms: number): unknown => {
    const timer = new HostTimer(fn, clock + ms);
    this.armed.add(timer);
    const id = this.made.push(timer);
    return this.numbers ? id : timer;
  };

  // sinon's complains, too.
  readonly clearTimeout = (id: unknown): void => {
    this.cleared++;
    const timer = this.numbers ? this.made[(id as number) - 1] : (id as HostTimer);
    if (timer === undefined || !this.made.includes(timer)) throw new Error("cleared a timer that it has not made");
    this.armed.delete(timer);
  };

  /** Puts them, with a clock of their own, in the place of what is there. */
  install(): void {
    this.wrap();
    vi.stubGlobal("performance", this.#performance);
  }
  readonly #performance = { timeOrigin: 0, now: () => clock };

  /** Puts the timers alone in the place of what is there, as a monitoring agent does. */
  wrap(): void {
    vi.stubGlobal("setTimeout", this.setTimeout);
    vi.stubGlobal("clearTimeout", this.clearTimeout);
  }

  /** For when each is armed, and whether it keeps the process alive. */
  get state(): string[] {
    return [...this.armed].map(({ at, keeps }) => `${at}${keeps ? ", keeps the process alive" : ""}`);
  }

  /** How many timers were made and cleared since the last time this was read. */
  get calls(): { made: number; cleared: number } {
    const calls = { made: this.made.length - this.#seen.made, cleared: this.cleared - this.#seen.cleared };
    this.#seen = { made: this.made.length, cleared: this.cleared };
    return calls;
  }
  #seen = { made: 0, cleared: 0 };

  /** Lets the only timer fire, at its instant. */
  async fire(): Promise<void> {
    expect(this.armed.size).toBe(1);
    const [timer] = this.armed as Iterable<HostTimer> as [HostTimer];
    this.armed.delete(timer);
    clock = Math.max(clock, timer.at);
    timer.fn();
    await turn();
  }
}

async function loadOn(host: HostTimers) {
  host.install();
  vi.resetModules();
  const [{ sleep, Ticker, Timer }, { background, withCancel, withTimeout }] = await Promise.all([
    import("gopark/time"),
    import("gopark/context"),
  ]);
  return { sleep, Ticker, Timer, cancellable: () => withCancel(background()), deadline: withTimeout, background };
}

beforeEach(() => {
  clock = 0;
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.resetModules();
});

const ALIVE = ", keeps the process alive";

describe("it keeps the process alive while something waits for an alarm", () => {
  test.each(["Node", "Deno"])("in %s", async (name) => {
    const host = new HostTimers(name === "Deno");
    if (host.numbers) {
      const timerOf = (id: number) => host.made[id - 1] as HostTimer;
      vi.stubGlobal("Deno", {
        refTimer: (id: number) => timerOf(id).ref(),
        unrefTimer: (id: number) => timerOf(id).unref(),
      });
    }
    const { sleep, Timer, cancellable } = await loadOn(host);
    const timer = new Timer(10);
    expect(host.state).toEqual(["10"]);
    const [first, second] = [cancellable(), cancellable()];
    const waits = [first, second].map(({ ctx }) => watch(timer.c.receive(ctx)));
    expect(host.state).toEqual([`10${ALIVE}`]);
    first.cancel();
    expect(host.state).toEqual([`10${ALIVE}`]);
    second.cancel();
    expect(host.state).toEqual(["10"]);
    const slept = watch(sleep(5));
    expect(host.state).toEqual([`5${ALIVE}`]);
    await host.fire();
    expect([slept.state, ...host.state]).toEqual(["fulfilled", "10"]);
    timer.stop();
    expect(waits.map(({ state }) => state)).toEqual(["rejected", "rejected"]);
  });

  test("in a browser there is nothing to keep alive, and waits end all the same", async () => {
    const host = new HostTimers(true);
    vi.stubGlobal("Deno", undefined);
    const { sleep, Timer } = await loadOn(host);
    const timer = new Timer(10);
    const slept = watch(sleep(5));
    await host.fire();
    expect(slept.state).toBe("fulfilled");
    await host.fire();
    expect(timer.c.tryReceive()).toEqual({ value: 10, ok: true });
  });
});

describe("it is armed again for an earlier instant, and left alone otherwise", () => {
  test("it is not touched by a later alarm, nor by one that is disarmed", async () => {
    const host = new HostTimers();
    const { Timer } = await loadOn(host);
    const first = new Timer(10);
    expect(host.calls).toEqual({ made: 1, cleared: 0 });
    const others = [20, 10, 30].map((ms) => new Timer(ms));
    for (const timer of [first, ...others]) timer.stop();
    expect(host.calls).toEqual({ made: 0, cleared: 0 });
    const near = new Timer(5);
    expect(host.calls).toEqual({ made: 1, cleared: 1 });
    await host.fire();
    expect([near.stop(), ...host.state]).toEqual([true]);
    void host.calls;
    new Timer(5).stop();
    expect(host.calls).toEqual({ made: 1, cleared: 0 });
  });

  test("under a wrapper it follows the earliest alone", async () => {
    const { Timer } = await loadOn(new HostTimers());
    const wrapper = new HostTimers();
    wrapper.wrap();
    const [first, second] = [new Timer(10), new Timer(20)];
    void wrapper.calls;
    second.stop();
    expect(wrapper.calls).toEqual({ made: 0, cleared: 0 });
    first.stop();
    expect(wrapper.calls).toEqual({ made: 0, cleared: 1 });
  });

  test.each(["the host's timers", "a wrapper"])(
    "once after it has fired, however many alarms were due: %s",
    async (on) => {
      const host = new HostTimers();
      const { Ticker } = await loadOn(host);
      const used = on === "a wrapper" ? new HostTimers() : host;
      used.wrap();
      const tickers = Array.from({ length: 5 }, () => new Ticker(10));
      void used.calls;
      await used.fire();
      expect([used.calls.made, ...used.state]).toEqual([1, "20"]);
      for (const ticker of tickers) ticker.stop();
    },
  );
});

describe("while a test has replaced the host's timers", () => {
  test.each([
    ["as sinon does", (mock: HostTimers) => mock.install()],
    [
      "as node:test does, which leaves performance alone",
      (mock: HostTimers) => {
        mock.wrap();
        vi.stubGlobal("Date", class extends Date {});
      },
    ],
  ])("a wait for the real clock ends when they are back, and lives on until then: %s", async (_, replaceBy) => {
    const realDate = Date;
    const host = new HostTimers();
    const { sleep } = await loadOn(host);
    const slept = watch(sleep(10));
    const mock = new HostTimers();
    replaceBy(mock);
    await host.fire();
    expect([slept.state, ...host.state]).toEqual(["pending", `30${ALIVE}`]);
    await host.fire();
    expect([slept.state, ...host.state]).toEqual(["pending", `50${ALIVE}`]);
    host.install();
    vi.stubGlobal("Date", realDate);
    await host.fire();
    expect([slept.state, ...host.state]).toEqual(["fulfilled"]);
    expect(mock.calls).toEqual({ made: 0, cleared: 0 });
  });

  test("the real one that fired meanwhile keeps the process alive only while something waits", async () => {
    const host = new HostTimers();
    const { Timer, cancellable } = await loadOn(host);
    const timer = new Timer(10);
    const mock = new HostTimers();
    mock.install();
    await host.fire();
    expect(host.state).toEqual(["30"]);
    const later = new Timer(50);
    const { ctx, cancel } = cancellable();
    const waiting = watch(later.c.receive(ctx));
    expect([host.state, mock.state]).toEqual([[`30${ALIVE}`], [`10${ALIVE}`]]);
    cancel();
    expect([host.state, mock.state]).toEqual([["30"], ["10"]]);
    await host.fire();
    timer.stop();
    expect([host.state, mock.state]).toEqual([["50"], ["60"]]);
    later.stop();
    expect([host.state, mock.state]).toEqual([["50"], []]);
    await turn();
    expect(waiting.state).toBe("rejected");
  });

  test("a wait that is cancelled under them does not keep the process alive by the real one", async () => {
    const host = new HostTimers();
    const { sleep, cancellable } = await loadOn(host);
    const { ctx, cancel } = cancellable();
    const slept = watch(sleep(10, ctx));
    new HostTimers().install();
    cancel();
    await turn();
    expect([slept.state, ...host.state]).toEqual(["rejected", "10"]);
  });

  test("each is cleared by those that made it, and there is one again when they are back", async () => {
    const host = new HostTimers();
    const { sleep, Timer } = await loadOn(host);
    const slept = watch(sleep(10));
    for (const mock of [new HostTimers(), new HostTimers()]) {
      mock.install();
      const timer = new Timer(5);
      expect(mock.state).toEqual([`5${ALIVE}`]);
      timer.stop();
      expect([mock.state, host.state]).toEqual([[`10${ALIVE}`], [`10${ALIVE}`]]);
    }
    host.install();
    new Timer(5).stop();
    expect(host.state).toEqual([`5${ALIVE}`]);
    await host.fire();
    expect(host.state).toEqual([`10${ALIVE}`]);
    await host.fire();
    expect([slept.state, ...host.state]).toEqual(["fulfilled"]);
  });

  test("what was armed under them comes, once something else is armed, however late", async () => {
    const host = new HostTimers();
    const { sleep } = await loadOn(host);
    new HostTimers().install();
    const mocked = watch(sleep(10));
    host.install();
    const real = watch(sleep(20));
    expect(host.state).toEqual([`10${ALIVE}`]);
    await host.fire();
    await host.fire();
    expect([mocked.state, real.state]).toEqual(["fulfilled", "fulfilled"]);
  });
});

test("a wrapper of setTimeout that comes when a timer is armed does not keep it from ending what it is for", async () => {
  const host = new HostTimers();
  const { sleep, Timer } = await loadOn(host);
  const slept = watch(sleep(10));
  const timer = new Timer(30);
  const wrapper = new HostTimers();
  wrapper.wrap();
  await host.fire();
  expect([slept.state, host.state, wrapper.state]).toEqual(["fulfilled", [], ["30"]]);
  timer.stop();
  expect([host.state, wrapper.state]).toEqual([[], []]);
});

test("a fault in what one alarm does is reported, and the others fire", () => {
  const seen = collectReported();
  const before = [...alarms()].length;
  const fired: string[] = [];
  const fault = new Error("a fault");
  arm({
    when: -2,
    index: -1,
    fire() {
      throw fault;
    },
  });
  arm({ when: -1, index: -1, fire: () => fired.push("the second") });
  fireDue();
  expect([seen, fired, [...alarms()].length]).toEqual([[fault], ["the second"], before]);
});
