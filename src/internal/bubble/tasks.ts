/**
 * The tasks of a bubble, as a tree, and which of them could run.
 *
 * A task that waits in the library, or for a timer, can only be continued by other code of the bubble, or by time. A
 * task that has started others may wait for what they return, in ways that nobody can see, so it is passed over as long
 * as one of them lives. Any other task is *running*: it computes, or it waits for something that is not of the bubble.
 */
import type { LeakRecord } from "../track/records.ts";
import type { Kind } from "../track/tracker.ts";

/** A task, or the function of the bubble, which has no parent. */
export class Task {
  /** The tree that it is of. */
  readonly tree: TaskTree;
  readonly parent: Task | undefined;
  readonly record: LeakRecord | undefined;

  // Between any two calls: `children` is how many tasks that this one started have not left the tree, and `waits` how
  // many waits and timers of this one are pending. Written by the tree alone.
  ended = false;
  children = 0;
  waits = 0;

  constructor(tree: TaskTree, parent: Task | undefined, record: LeakRecord | undefined) {
    this.tree = tree;
    this.parent = parent;
    this.record = record;
  }
}

/** A wait of a task. */
export interface TaskWait {
  readonly task: Task;
  /** The kind of the wait, by name. */
  readonly kind: string;
  readonly record: LeakRecord | undefined;
  /** When it began, in the bubble's time. */
  readonly since: number;
}

export class TaskTree {
  // Between any two calls:
  //   running is the number of tasks that have not ended, have no children and wait for nothing;
  //   a task that has ended leaves the tree, and is no child any more, when its last child leaves.

  running = 0;

  /** How often anything has changed. */
  changes = 0;

  /** The tasks that have not ended, in the order of their start. */
  readonly alive: Set<Task> = new Set();

  /** The waits in the library that have not ended, in the order of their start. */
  readonly waits: Set<TaskWait> = new Set();

  begin(startedBy: Task | undefined, record: LeakRecord | undefined): Task {
    // What a task has started may run on after it, and start others: these are children of the next one above.
    let parent = startedBy;
    while (parent?.ended) parent = parent.parent;
    const task = new Task(this, parent, record);
    this.alive.add(task);
    this.running++;
    if (parent !== undefined) this.change(parent, 1, 0);
    return task;
  }

  end(task: Task): void {
    if (isRunning(task)) this.running--;
    task.ended = true;
    this.alive.delete(task);
    this.changes++;
    for (let t = task; t.ended && t.children === 0 && t.parent !== undefined; t = t.parent)
      this.change(t.parent, -1, 0);
  }

  park(task: Task, kind: Kind, record: LeakRecord | undefined, since: number): TaskWait {
    const wait = { task, kind: kind.name, record, since };
    this.waits.add(wait);
    this.change(task, 0, 1);
    return wait;
  }

  unpark(wait: TaskWait): void {
    if (this.waits.delete(wait)) this.change(wait.task, 0, -1);
  }

  /** Counts n more of the task's timers, or other things that only the bubble ends, as pending. */
  addPending(task: Task, n: number): void {
    this.change(task, 0, n);
  }

  /** The tasks that are running. */
  runningTasks(): Task[] {
    return [...this.alive].filter(isRunning);
  }

  private change(task: Task, children: number, waits: number): void {
    if (isRunning(task)) this.running--;
    task.children += children;
    task.waits += waits;
    if (isRunning(task)) this.running++;
    this.changes++;
  }
}

function isRunning(task: Task): boolean {
  return !task.ended && task.children === 0 && task.waits === 0;
}
