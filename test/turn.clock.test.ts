/**
 * The budget, step by step: how large the slices are, when the next turn is requested, when completions begin to be
 * deferred, and in which portions they are handed out. The library is loaded anew for each test, on a host whose clock
 * and macrotasks the test drives.
 */
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";

let now = 0;
let readings = 0;
let macrotasks: (() => void)[] = [];
let budget: typeof import("../src/internal/time/turn.ts");

beforeEach(async () => {
  now = 0;
  macrotasks = [];
  vi.stubGlobal("performance", {
    timeOrigin: 0,
    now() {
      readings++;
      return now;
    },
  });
  vi.stubGlobal("setImmediate", (fn: () => void) => macrotasks.push(fn));
  budget = await load();
  readings = 0;
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.resetModules();
});

function load(): Promise<typeof budget> {
  vi.resetModules();
  return import("../src/internal/time/turn.ts");
}

function nextTurn(): void {
  const due = macrotasks;
  macrotasks = [];
  for (const macrotask of due) macrotask();
}

/**
 * Charges operations, each with `pace` ms of work after it, until one is refused. Returns the sizes of the slices (how
 * many came from one reading of the clock to the next), and how many came before the next turn was requested.
 */
function work(pace: number): { slices: number[]; beforeRequest: number } {
  expect(macrotasks).toEqual([]);
  const slices = [0];
  let beforeRequest = 0;
  for (let n = 0; n < 1000; n++) {
    readings = 0;
    const allowed = budget.chargeOperation();
    if (!allowed) return { slices, beforeRequest };
    if (readings > 0) slices.push(0);
    slices.push((slices.pop() as number) + 1);
    if (macrotasks.length === 0) beforeRequest++;
    now += pace;
  }
  throw new Error("none was refused");
}

/** Defers `n` completions; each takes `pace` ms when it is handed out. Returns the list of those that were. */
function deferMany(n: number, pace = 0): number[] {
  const handedOut: number[] = [];
  const settle = (i: number) => {
    handedOut.push(i);
    now += pace;
  };
  for (let i = 0; i < n; i++) budget.defer(settle, i);
  return handedOut;
}

/** How many more are handed out with each of the next `n` microtasks. */
async function portions(handedOut: number[], n: number): Promise<number[]> {
  const sizes: number[] = [];
  for (let i = 0; i < n; i++) {
    const before = handedOut.length;
    await undefined;
    sizes.push(handedOut.length - before);
  }
  return sizes;
}

describe("at a steady pace", () => {
  test.each([
    // The work of each operation in ms, and the slices of a turn: as many as begin within 3 ms, then within 2 ms more.
    [1 / 64, [48, 48, 48, 48], [48, 48, 48]],
    [1 / 16, [12, 12, 12, 12], [12, 12, 12]],
    [1 / 4, [3, 3, 3, 3], [3, 3, 3]],
    [0.75, [1, 1, 1, 1], [1, 1, 1]],
    // Where one operation takes longer than a slice should, each is one.
    [1, [1, 1, 1], [1, 1]],
    [2, [1, 1], [1]],
    [5, [1], [1]],
  ])("of %d ms an operation, the slices of a turn are %j, then %j after the next is requested", (pace, first, rest) => {
    work(pace); // The pace is learned.
    for (let turns = 0; turns < 3; turns++) {
      nextTurn();
      expect(work(pace)).toEqual({ slices: [...first, ...rest], beforeRequest: first.reduce((sum, n) => sum + n) });
      expect(macrotasks.length).toBe(1);
    }
  });

  test("that costs nothing a slice is 64, and no turn ends", () => {
    const { chargeOperation } = budget;
    for (let i = 0; i < 64 + 127; i++) expect(chargeOperation()).toBe(true);
    nextTurn();
    readings = 0;
    for (let i = 0; i < 6400; i++) expect(chargeOperation()).toBe(true);
    expect(readings).toBe(99);
    expect(macrotasks).toEqual([]);
  });
});

describe("the pace is learned", () => {
  test.each([
    [1 / 64, [64, 1, 2, 4, 8, 16, 32, 48, 48]],
    [1 / 16, [64, 1, 2, 4, 8, 12, 12]],
    [1 / 2, [64, 1, 1, 1, 1]],
  ])("from the first slice on, which is whole: with %d ms an operation the slices are %j", (pace, slices) => {
    expect(work(pace)).toEqual({ slices, beforeRequest: 64 });
  });

  test("when it changes: work that takes longer is noticed after a slice, work that takes less is trusted gradually", () => {
    work(1 / 16);
    nextTurn();
    expect(work(1).slices).toEqual([12, 1, 1]);
    nextTurn();
    expect(work(1 / 64).slices).toEqual([1, 2, 4, 8, 16, 32, 48, 48, 48, 48, 48, 48]);
  });
});

describe("completions that are deferred", () => {
  test("are refused until the next turn, without a look at the clock", () => {
    work(1 / 16);
    const handedOut = deferMany(1);
    readings = 0;
    now += 100;
    for (let i = 0; i < 100; i++) expect([budget.charge(), budget.chargeOperation()]).toEqual([false, false]);
    expect([readings, macrotasks.length, handedOut, budget.hasDeferred()]).toEqual([0, 1, [], true]);
    nextTurn();
    expect([handedOut, budget.hasDeferred(), budget.charge()]).toEqual([[0], false, true]);
  });

  test("are handed out in order, one slice every three microtasks, until the turn's time is over", async () => {
    work(1 / 4);
    const handedOut = deferMany(50, 1 / 4);
    nextTurn();
    expect(handedOut).toEqual([0, 1, 2]);
    expect(await portions(handedOut, 12)).toEqual([0, 0, 3, 0, 0, 3, 0, 0, 3, 0, 0, 3]);
    await portions(handedOut, 50);
    expect(handedOut.length).toBe(21); // As many as operations at this pace.
    nextTurn();
    await portions(handedOut, 50);
    expect(handedOut.length).toBe(42);
    expect(budget.chargeOperation()).toBe(false);
    nextTurn();
    await portions(handedOut, 50);
    expect(handedOut).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });
});

describe("a burst, one call that grants many", () => {
  test("is deferred beyond its slice, and handed out in growing slices, with no turn in between", async () => {
    let granted = 0;
    while (budget.charge()) granted++;
    expect(granted).toBe(65);
    const handedOut = deferMany(20);
    expect(await portions(handedOut, 14)).toEqual([0, 0, 2, 0, 0, 4, 0, 0, 8, 0, 0, 6, 0, 0]);
    expect(budget.charge()).toBe(true);
  });

  test("is none if a task has run in between", async () => {
    for (let i = 0; i < 1000; i++) {
      expect(budget.charge()).toBe(true);
      await undefined;
    }
  });

  test("is none if operations complete without a wait", () => {
    for (let i = 0; i < 1000; i++) expect(budget.chargeOperation()).toBe(true);
  });
});

describe("counted turns, whatever the clock reads", () => {
  test("have two slices of 256", () => {
    budget.countTurns(true);
    // No reading of the clock divides them.
    expect(work(7).slices).toEqual([64 + 256]);
    nextTurn();
    expect(work(7).slices).toEqual([2 * 256]);
  });

  test("begin a turn with a slice of 256", () => {
    work(1 / 16);
    budget.countTurns(true);
    nextTurn();
    expect(work(7).slices).toEqual([2 * 256]);
  });
});

describe("completions that are given back", () => {
  test("are handed out in the next turn, which is requested once", async () => {
    const completions = budget.takeOver();
    const handedOut = deferMany(3);
    expect(macrotasks.length).toBe(0);
    completions.take()?.();
    completions.giveBack();
    expect([handedOut, macrotasks.length, budget.charge()]).toEqual([[0], 1, false]);
    nextTurn();
    await portions(handedOut, 4);
    expect(handedOut).toEqual([0, 1, 2]);
  });

  test("are handed out in the turn that was requested before", async () => {
    work(1);
    const completions = budget.takeOver();
    const handedOut = deferMany(2);
    completions.giveBack();
    expect(macrotasks.length).toBe(1);
    nextTurn();
    await portions(handedOut, 4);
    expect(handedOut).toEqual([0, 1]);
  });

  test("leave nothing behind if there are none: the budget decides at once", () => {
    budget.takeOver().giveBack();
    expect(macrotasks).toEqual([]);
    expect(budget.chargeOperation()).toBe(true);
  });

  test("are not handed out by the burst that was under way when they were taken over", async () => {
    while (budget.charge());
    const handedOut = deferMany(2);
    const completions = budget.takeOver();
    expect(await portions(handedOut, 10)).toEqual(Array(10).fill(0));
    completions.giveBack();
    expect(await portions(handedOut, 10)).toEqual(Array(10).fill(0));
    nextTurn();
    await portions(handedOut, 4);
    expect(handedOut).toEqual([0, 1]);
  });

  test("are handed out by the burst that was under way, if they are given back before it goes on", async () => {
    while (budget.charge());
    const handedOut = deferMany(2);
    budget.takeOver().giveBack();
    await portions(handedOut, 4);
    expect(handedOut).toEqual([0, 1]);
  });

  test("end the burst that was under way", async () => {
    while (budget.charge());
    const handedOut = deferMany(1);
    const completions = budget.takeOver();
    completions.take()?.();
    completions.giveBack();
    readings = 0;
    await portions(handedOut, 10);
    expect(readings).toBe(0);
  });
});

describe("the next turn is", () => {
  test("a message, where the host has no setImmediate, whose channel is closed", async () => {
    const log: string[] = [];
    class Channel {
      readonly port1 = { onmessage: () => {}, close: () => log.push("closed") };
      readonly port2 = { postMessage: () => setTimeout(() => this.port1.onmessage()) };
    }
    vi.stubGlobal("setImmediate", undefined);
    vi.stubGlobal("MessageChannel", Channel);
    budget = await load();
    await new Promise<void>((resolve) => {
      budget.macrotask(() => {
        log.push("turn");
        resolve();
      });
    });
    expect(log).toEqual(["closed", "turn"]);
  });

  test("a timeout, where it has no messages either", async () => {
    vi.stubGlobal("setImmediate", undefined);
    vi.stubGlobal("MessageChannel", undefined);
    const delays: number[] = [];
    vi.stubGlobal("setTimeout", (fn: () => void, ms: number) => {
      delays.push(ms);
      macrotasks.push(fn);
    });
    budget = await load();
    let turns = 0;
    budget.macrotask(() => turns++);
    expect([turns, delays]).toEqual([0, [0]]);
    nextTurn();
    expect(turns).toBe(1);
  });
});
