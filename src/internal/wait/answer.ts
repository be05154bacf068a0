/** A wait that goes on after its grant: first for a slot, then for what the task in the slot answers. */
import { charge, defer } from "../time/turn.ts";
import type { LeakRecord } from "../track/records.ts";
import { Holder } from "../track/tracker.ts";
import type { Wait, WaitQueue } from "./wait.ts";

/** The wait. Its queue may also have waits that end with the grant: their value is undefined. */
export type AnswerWait = Wait<unknown, Answer | undefined>;

/**
 * What such a wait stands in from the grant of its slot until its task has ended, or its caller has been answered by a
 * cancel. An object for each, to which only the task leads. If the pool led to it, no wait for a task that nothing can
 * end would be proved leaked.
 */
export class Answer implements WaitQueue<AnswerWait> {
  readonly hooks: undefined = undefined;

  /** The task, from its start on, if it is recorded. */
  holder: Holder | undefined = undefined;

  /** Resolves at the grant, and so starts the task in the async context of its `submit`. */
  readonly granted: Promise<void>;

  private start!: (value: undefined) => void;

  constructor() {
    this.granted = new Promise<void>((resolve) => {
      this.start = resolve;
    });
  }

  /** Grants the slot: the wait goes on, for the answer. */
  grant(wait: AnswerWait): void {
    this.push(wait);
    if (charge()) this.start(undefined);
    else defer(this.start, undefined);
  }

  /** Says that the wait, which has its slot, is for the end of this task, if that is recorded. */
  startAs(task: LeakRecord | undefined, wait: AnswerWait): void {
    if (task !== undefined) {
      this.holder = new Holder("all");
      this.holder.records.add(task);
    }
    const record = wait.dependent?.record;
    if (record !== undefined) record.holder = this.holder;
  }

  /** Links a wait that is in no queue: its slot was free. */
  push(wait: AnswerWait): void {
    wait.list = this;
  }

  /** Unlinks the wait; false if it has been claimed. */
  remove(wait: AnswerWait): boolean {
    if (wait.list !== this) return false;
    wait.list = undefined;
    return true;
  }
}
