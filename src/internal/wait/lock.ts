/**
 * Locks: the mechanism under Mutex, RWMutex and KeyedMutex.
 *
 * A lock has one side for writers and, if it can be shared, one for readers. A {@link Side} counts its holds, those of
 * guards and those without one (`lock` and `unlock`), and has the queue of its waiters. {@link Lock} decides which
 * waiter is next.
 */
import { completed, completedWith } from "../time/turn.ts";
import type { LeakRecord } from "../track/records.ts";
import { currentTask, runHolding } from "../track/tasks.ts";
import { exit, Holder, isDue, isFull, type Kind, makeRecord } from "../track/tracker.ts";
import type { Source } from "./source.ts";
import { type CancelHooks, type Wait, type Waiter, Waiters } from "./wait.ts";

/** The names of one side: for the counters, and for the error of a misuse. */
export interface SideNames {
  readonly waitKind: Kind;
  readonly heldKind: Kind;
  /** Go's text for an unlock of what is not locked. */
  readonly misuse: string;
}

/**
 * What a guard of a lock holds. An object of its own, since the lock refers to it: if the lock referred to the guard,
 * the collector could not prove that a guard was dropped.
 */
export class Hold {
  /** What the caller gets. Set until the lock is taken for the first time. */
  guard: object | undefined = undefined;

  // A weak reference to it, for records: set when the lock is first taken under full tracking, and kept, since a Cond
  // takes the lock again.
  private weakGuard: WeakRef<object> | undefined = undefined;

  // Set when the lock is taken. Cleared when it is given back, or suspended.
  private held = false;

  /**
   * Set by the first `unlock`, and never cleared: after it a `resume` counts as a hold without a guard, as the guard
   * would not give it back.
   */
  unlocked = false;

  // The record of the hold while the lock is held, under full tracking.
  private record: LeakRecord | undefined = undefined;

  private readonly side: Side;

  constructor(side: Side) {
    this.side = side;
  }

  /** The lock has been taken. Returns the record, under full tracking. */
  taken(kind: Kind, granted: Granted): LeakRecord | undefined {
    this.held = true;
    const { guard } = this;
    this.guard = undefined;
    if (!isDue()) return undefined;
    if (guard !== undefined) this.weakGuard = new WeakRef(guard);
    this.record = makeRecord(kind, 1, this.weakGuard?.deref(), kind.entryPoints, stackOf(granted));
    return this.record;
  }

  /** Calls `fn`, for which the lock is held, and which the caller waits for. */
  call<R>(fn: () => R): R {
    return runHolding(fn, this.record);
  }

  /** Gives the lock back. It may be taken for this hold again. */
  suspend(): void {
    if (!this.held) return;
    this.held = false;
    const { record } = this;
    this.record = undefined;
    this.side.endHold(record);
  }

  /** Gives the lock back for good. Does nothing the second time. */
  unlock(): void {
    this.unlocked = true;
    this.suspend();
  }
}

/** The record of the wait to which a hold is granted; undefined if the caller takes the lock itself. */
type Granted = LeakRecord | "not recorded" | undefined;

/** Why a wait wants the lock: for the hold of a guard; undefined if the lock is to be held without one. */
type Owner = Hold | undefined;

/** One way to hold a lock, as a writer or as a reader. A wait for it resolves to the guard that it is for, if any. */
export class Side implements CancelHooks<Wait<unknown, Owner>> {
  // Between any two calls: 0 <= unguarded <= held, and the other holds are those of guards.
  held = 0;
  private unguarded = 0;

  // The hold of the guard that took the lock last. On an exclusive side it is the holder, if held is 1 and unguarded is
  // 0.
  private lastHold: Hold | undefined = undefined;

  // Made for the first waiter.
  private waiters: Waiters<unknown, Owner> | undefined = undefined;

  // The records of the holds without a guard, oldest first, under full tracking: `unlock` does not say which it gives
  // back.
  private records: Set<LeakRecord> | undefined = undefined;

  private readonly lock: Lock;
  private readonly names: SideNames;

  constructor(lock: Lock, names: SideNames) {
    this.lock = lock;
    this.names = names;
  }

  /** How many tasks wait. */
  get waiting(): number {
    return this.waiters === undefined ? 0 : this.waiters.size;
  }

  /** Takes the lock without a guard, or parks until it is granted. `source` has been polled and has not ended. */
  take(source: Source | undefined): Promise<void> {
    if (!this.lock.isFree(this)) return this.park(source, undefined) as Promise<void>;
    this.beginHold(undefined);
    return completed();
  }

  /** As {@link take}, for a guard, which it resolves to. */
  takeFor<G extends object>(source: Source | undefined, hold: Hold, guard: G): Promise<G> {
    hold.guard = guard;
    if (!this.lock.isFree(this)) return this.park(source, hold) as Promise<G>;
    this.beginHold(hold);
    return completedWith(guard);
  }

  /** Takes the lock without a guard if that needs no wait; reports whether it did. */
  tryTake(): boolean {
    if (!this.lock.isFree(this)) return false;
    this.beginHold(undefined);
    return true;
  }

  /** Gives back one hold without a guard. Throws, with nothing changed, if there is none. */
  giveBack(): void {
    if (this.unguarded === 0) {
      throw new Error(this.held === 0 ? this.names.misuse : "sync: a guard holds the lock: it alone can unlock it");
    }
    this.unguarded--;
    const { records } = this;
    this.endHold(records === undefined ? undefined : takeRecord(records));
  }

  /** Ends a hold. If it had no guard, the caller has taken it out of `unguarded`. */
  endHold(record: LeakRecord | undefined): void {
    if (record !== undefined) this.lock.holders?.records.delete(record);
    exit(this.names.heldKind, record);
    this.held--;
    this.lock.admit(this);
  }

  /**
   * Gives the lock back for a while. If a guard holds it, returns the guard's hold, for {@link resume}. For an
   * exclusive side only. Throws as {@link giveBack} does.
   */
  suspend(): Hold | undefined {
    const hold = this.unguarded === 0 && this.held > 0 ? this.lastHold : undefined;
    if (hold === undefined) this.giveBack();
    else hold.suspend();
    return hold;
  }

  /** Takes the lock again, with or without a guard as it was held before {@link suspend}. */
  async resume(hold: Hold | undefined): Promise<void> {
    if (this.lock.isFree(this)) this.beginHold(hold);
    else await this.park(undefined, hold);
  }

  /** Grants the lock to the first waiter. There is one, and the lock is free for it. */
  grantOne(): void {
    const waiter = this.waiters?.shift() as Waiter<unknown, Owner>;
    const hold = waiter.value;
    const guard = hold?.guard;
    // The record shows where the lock was asked for: the caller here is another task.
    this.beginHold(hold, (waiter as Partial<Wait<unknown, Owner>>).dependent?.record ?? "not recorded");
    waiter.resolve(guard);
  }

  /** Grants the lock to all waiters. */
  grantAll(): void {
    while (this.waiting > 0) this.grantOne();
  }

  afterCancels(): void {
    this.lock.admit(undefined);
  }

  private park(source: Source | undefined, owner: Owner): Promise<unknown> {
    this.waiters ??= new Waiters<unknown, Owner>(this.names.waitKind, this, this.lock.makeHolders());
    return this.waiters.park(source, owner);
  }

  /**
   * Counts a hold; as one without a guard, if its guard has been unlocked in the meantime. `granted`: for a hold that
   * another task grants, the record of its wait.
   */
  private beginHold(hold: Hold | undefined, granted?: Granted): void {
    const kind = this.names.heldKind;
    this.held++;
    kind.live++;
    if (hold === undefined || hold.unlocked) {
      this.unguarded++;
      // An exclusive hold is the one that the next unlock ends. Among those of readers it would not be known.
      if (this.lock.write === this ? isDue() : isFull()) this.recordHold(granted);
    } else {
      this.lastHold = hold;
      const record = hold.taken(kind, granted);
      if (record !== undefined) this.noteHolder(record, granted);
    }
  }

  /** Makes the record of a hold without a guard. Once the collector has taken the lock, nobody can unlock it. */
  private recordHold(granted: Granted): void {
    const { heldKind } = this.names;
    const record = makeRecord(heldKind, 1, this.lock, heldKind.entryPoints, stackOf(granted));
    this.records ??= new Set();
    this.records.add(record);
    this.noteHolder(record, granted);
  }

  private noteHolder(record: LeakRecord, granted: Granted): void {
    if (granted === undefined) record.task = currentTask();
    else if (granted !== "not recorded") record.task = granted.task;
    this.lock.makeHolders().records.add(record);
  }
}

/** Where a hold was asked for that another task grants. */
function stackOf(granted: Granted): string | undefined {
  return typeof granted === "object" ? granted.stack : undefined;
}

/**
 * Takes out the record of the hold that is given back, as far as is known: the oldest of this task, or else the oldest
 * of all.
 */
function takeRecord(records: Set<LeakRecord>): LeakRecord | undefined {
  const task = currentTask();
  let given: LeakRecord | undefined;
  for (const record of records) {
    given ??= record;
    if (record.task === undefined ? task !== undefined : !task?.isWithin(record.task)) continue;
    given = record;
    break;
  }
  if (given !== undefined) records.delete(given);
  return given;
}

/** The state of a lock, and which waiter is next: Go's policy. */
export class Lock {
  // Between any two calls:
  //   write.held is 0 or 1, and if it is 1, there are no readers;
  //   if any task waits, the lock is held;
  //   if any reader waits, a writer holds the lock or waits.
  // Exception: from a cancel to `afterCancels`, the waiters that the cancelled wait held back are not admitted yet,
  // since the same end may be about to cancel them. An abort listener may give the lock back meanwhile: that admits
  // them, and if none is left, the lock is free before `afterCancels`.
  readonly write: Side;
  readonly read: Side | undefined;

  /** Made for the first wait, and for the first hold under full tracking. */
  holders: Holder | undefined = undefined;

  constructor(write: SideNames, read?: SideNames) {
    this.write = new Side(this, write);
    this.read = read === undefined ? undefined : new Side(this, read);
  }

  makeHolders(): Holder {
    this.holders ??= new Holder("all");
    return this.holders;
  }

  /** Whether the side can be taken now. Waiting writers hold back new readers. */
  isFree(side: Side): boolean {
    const { write, read } = this;
    if (write.held > 0 || write.waiting > 0) return false;
    return side === read || read === undefined || read.held === 0;
  }

  /** Admits the next waiters, after `side` has been given back, or after a wait has been cancelled. */
  admit(side: Side | undefined): void {
    const { write, read } = this;
    if (write.held > 0) return;
    if (read !== undefined) {
      // A reader waits because a writer holds the lock or waits before it. After a write all waiting readers come next,
      // before the next writer, so that neither side starves. After a read they do not, unless the writer that held
      // them back was cancelled.
      if (side === write || write.waiting === 0) read.grantAll();
      if (read.held > 0) return;
    }
    if (write.waiting > 0) write.grantOne();
    else if (side !== undefined) this.freed();
  }

  /** The last hold has been given back, and nobody waits. */
  protected freed(): void {}
}
