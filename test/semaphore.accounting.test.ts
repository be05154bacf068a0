/** Weighted semaphore: units belong to the call that took them, and no cancel admits a waiter that it ends. */
import { background, type Cancel, type Context, fromSignal, withCancel } from "gopark/context";
import { counters, find, track } from "gopark/leak";
import { type Permit, Weighted } from "gopark/semaphore";
import { afterEach, describe, expect, test } from "vitest";
import { random, seeds } from "./support/random.ts";
import { turn } from "./support/turn.ts";
import { watch } from "./support/watch.ts";

const bg = background();
const REFUSED = "semaphore: released more than held";

afterEach(() => track("full"));

describe.each(["full", "counters"] as const)(
  "units that permits hold cannot be released without the permit, tracking %s",
  (level) => {
    test("the release is refused, and the permit gives them back as ever", async () => {
      track(level);
      const sem = new Weighted(1);
      const permit = await sem.permit(bg);
      expect(() => sem.release()).toThrow(REFUSED);
      expect([sem.held(), counters()["semaphore unit"]]).toEqual([1, 1]);
      expect(sem.tryAcquire()).toBe(false);
      permit.release();
      expect([sem.held(), counters()["semaphore unit"]]).toEqual([0, 0]);
      expect([sem.tryAcquire(), sem.tryAcquire()]).toEqual([true, false]);
      sem.release();
    });

    test("those held without a permit can, and no more of them", async () => {
      track(level);
      const sem = new Weighted(5);
      const permit = await sem.permit(bg, 3);
      await sem.acquire(bg, 2);
      expect(() => sem.release(3)).toThrow(REFUSED);
      expect(sem.held()).toBe(5);
      sem.release(2);
      expect(() => sem.release()).toThrow(REFUSED);
      expect(sem.held()).toBe(3);
      sem.release(0);
      permit.release();
      expect(() => sem.release()).toThrow(REFUSED);
      expect(sem.held()).toBe(0);
    });

    test("a permit that is released before leaves the units held without a permit as they are", async () => {
      track(level);
      const sem = new Weighted(2);
      expect(sem.tryAcquire()).toBe(true);
      const permit = await sem.permit(bg);
      permit.release();
      permit.release();
      expect(sem.held()).toBe(1);
      sem.release();
      expect(sem.held()).toBe(0);
    });

    test("granted units belong to the waiter at once, before it resumes", async () => {
      track(level);
      const sem = new Weighted(1);
      sem.tryAcquire();
      const permit = sem.permit(bg);
      const byHand = sem.acquire(bg);
      sem.release(); // Grants the permit.
      expect(() => sem.release()).toThrow(REFUSED);
      (await permit).release(); // Grants the acquire.
      sem.release();
      await byHand;
      expect(sem.held()).toBe(0);
    });

    test("a rejected release wakes no waiter", async () => {
      track(level);
      const sem = new Weighted(1);
      const permit = await sem.permit(bg);
      const next = watch(sem.acquire(bg));
      expect(() => sem.release()).toThrow(REFUSED);
      await turn();
      expect([next.state, sem.waiting(), sem.held()]).toEqual(["pending", 1, 1]);
      permit.release();
      await turn();
      expect(next.state).toBe("fulfilled");
      sem.release();
    });
  },
);

describe("under full tracking, a release without a permit", () => {
  const units = () =>
    find()
      .filter(({ kind }) => kind === "semaphore unit")
      .map(({ count, stack }) => [count, /at (one|two|three)\b/.exec(stack ?? "")?.[1]]);

  test("erases the records of as many units, oldest first", async () => {
    const sem = new Weighted(10);
    const one = () => sem.tryAcquire(1);
    const two = () => sem.tryAcquire(2);
    const three = () => sem.tryAcquire(3);
    expect([three(), one(), two()]).toEqual([true, true, true]);
    const left: ReturnType<typeof units>[] = [];
    for (const n of [0, 2, 1, 1, 0, 1, 1]) {
      sem.release(n);
      left.push(units());
    }
    expect(left).toEqual([
      [
        [3, "three"],
        [1, "one"],
        [2, "two"],
      ],
      [
        [1, "three"],
        [1, "one"],
        [2, "two"],
      ],
      [
        [1, "one"],
        [2, "two"],
      ],
      [[2, "two"]],
      [[2, "two"]],
      [[1, "two"]],
      [],
    ]);
  });

  test("erases several records at once, the last in part", () => {
    const sem = new Weighted(10);
    const one = () => sem.tryAcquire(1);
    const three = () => sem.tryAcquire(3);
    expect([one(), three(), one()]).toEqual([true, true, true]);
    sem.release(3);
    expect(units()).toEqual([
      [1, "three"],
      [1, "one"],
    ]);
    sem.release(2);
    expect(units()).toEqual([]);
  });

  test("of units that have no record leaves those of others alone", () => {
    track("counters");
    const sem = new Weighted(10);
    sem.tryAcquire(2);
    track("full");
    const one = () => sem.tryAcquire(1);
    one();
    sem.release(1);
    sem.release(2);
    expect([sem.held(), units()]).toEqual([0, []]);
  });
});

test("where the last waiter is cancelled, an abort listener of the same cancel can take what is free", async () => {
  const sem = new Weighted(1);
  sem.tryAcquire();
  const [ctx, cancel] = withCancel(bg);
  const waiting = watch(sem.acquire(ctx));
  const taken: boolean[] = [];
  ctx.signal.addEventListener("abort", () => {
    sem.release();
    taken.push(sem.tryAcquire());
  });
  cancel();
  await turn();
  expect([waiting.state, taken, sem.held(), sem.waiting()]).toEqual(["rejected", [true], 1, 0]);
  sem.release();
});

test("a function that runs with a permit cannot have it taken away", async () => {
  const sem = new Weighted(1);
  let running = 0;
  const work = async () => {
    running++;
    expect(() => sem.release()).toThrow(REFUSED);
    await turn();
    expect(running).toBe(1);
    running--;
  };
  await Promise.all([sem.withPermit(bg, work), sem.withPermit(bg, 1, work)]);
  expect(sem.held()).toBe(0);
});

test.each(seeds(40))("random: the held units are those of permits and of acquires, seed %d", async (seed) => {
  const rnd = random(seed);
  const size = rnd.int(1, 6);
  const sem = new Weighted(size);
  const permits: Permit[] = [];
  let byHand = 0;
  let permitted = 0;
  for (let i = 0; i < 60; i++) {
    const n = rnd.int(0, size);
    switch (rnd.int(0, 3)) {
      case 0:
        if (sem.tryAcquire(n)) byHand += n;
        break;
      case 1:
        if (n > size - byHand - permitted) break;
        permits.push(await sem.permit(bg, n));
        permitted += n;
        break;
      case 2: {
        const permit = rnd.bool(0.8) ? permits.splice(rnd.int(0, permits.length), 1)[0] : permits[0];
        if (permit === undefined || (permits.includes(permit) && rnd.bool(0.5))) break;
        if (!permits.includes(permit)) permitted -= permit.n;
        else permitted -= permits.splice(permits.indexOf(permit), 1)[0]?.n ?? 0;
        permit.release();
        permit.release();
        break;
      }
      default:
        if (n <= byHand) {
          sem.release(n);
          byHand -= n;
        } else expect(() => sem.release(n)).toThrow(REFUSED);
    }
    expect([sem.held(), sem.waiting()]).toEqual([byHand + permitted, 0]);
  }
  sem.release(byHand);
  for (const permit of permits) permit.release();
  expect(sem.held()).toBe(0);
});

describe("a waiter held back by one that a cancel ends", () => {
  /**
   * One unit of two is held. The first to wait asks for both, those behind it for one each; under what the second waits
   * is found out before or after the first has begun to wait.
   */
  async function held(first: Context, second: () => Cancel, cancel: (why: unknown) => void, early: boolean) {
    const sem = new Weighted(2);
    sem.tryAcquire();
    const before = early ? second() : undefined;
    const waits = [watch(sem.acquire(first, 2)), watch(sem.acquire(before ?? second()))];
    const permit = sem.permit(bg);
    waits.push(watch(permit));
    cancel(new Error("why"));
    await turn();
    const states = waits.map(({ state }) => state);
    const reasons = waits.map(({ reason }) => reason);
    const held = sem.held();
    sem.release(); // The unit that was taken first.
    if (states[1] === "fulfilled") sem.release();
    (await permit).release();
    expect(sem.held()).toBe(0);
    return { states, reasons, held };
  }

  const ended = { states: ["rejected", "rejected", "fulfilled"], held: 2 };

  const follows: Record<string, (ctx: Context) => Cancel> = {
    "the context itself": (ctx) => ctx,
    "the context's signal": (ctx) => ctx.signal,
    "a child": (ctx) => withCancel(ctx).ctx,
    "a signal that follows the context's": (ctx) => AbortSignal.any([ctx.signal]),
    "one that follows that one": (ctx) =>
      AbortSignal.any([AbortSignal.any([ctx.signal]), new AbortController().signal]),
    "the context of a signal that follows": (ctx) => fromSignal(AbortSignal.any([ctx.signal])),
    "a child of a signal that follows": (ctx) => withCancel(AbortSignal.any([ctx.signal])).ctx,
    "a signal that follows a child's": (ctx) => AbortSignal.any([withCancel(ctx).ctx.signal]),
    "a context that a listener cancels": (ctx) => {
      const other = withCancel(bg);
      ctx.signal.addEventListener("abort", () => other.cancel());
      return other.ctx;
    },
    "a signal that a listener aborts": (ctx) => {
      const other = new AbortController();
      ctx.signal.addEventListener("abort", () => other.abort());
      return other.signal;
    },
  };

  describe.each([
    ["made before", true],
    ["made after the first waits", false],
  ])("%s", (_, early) => {
    test.each(Object.entries(follows))("is not granted if the cancel ends it too, by %s", async (_, follow) => {
      const { ctx, cancel } = withCancel(bg);
      const { reasons, ...result } = await held(ctx, () => follow(ctx), cancel, early);
      expect(result).toEqual(ended);
      expect((reasons[1] as Error).name).toBe("AbortError");
    });

    test("is granted if the cancel does not reach it", async () => {
      const { ctx, cancel } = withCancel(bg);
      const other = withCancel(bg);
      const { states } = await held(ctx, () => other.ctx, cancel, early);
      expect(states).toEqual(["rejected", "fulfilled", "pending"]);
      other.cancel();
    });
  });
});
