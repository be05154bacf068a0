/**
 * Circles of tasks, each of which waits for what the next one holds: found in the records, under task identity.
 *
 * 1. Each wait of a task is for a {@link Holder}, or for nothing known. A task that has called another one inside of
 *    it (`update`, `do`, `withLock`) waits for that one. These are the edges from tasks to the tasks that hold.
 * 2. A task is taken to be stuck until the opposite is found: a wait of its that can end. A wait can end if nothing is
 *    known of its holders, or if enough of them are not stuck. (A task may have several flows, as under `Promise.all`.
 *    One that can go on may be the one that holds.) The waits for what a task holds that is not stuck are looked at
 *    again, until nothing changes: linear in the waits, and in the holds of what is waited for.
 * 3. Each stuck task now waits for a stuck one. Following one such wait from each leads into a circle.
 */

import { allRecords, type LeakRecord } from "./records.ts";
import type { Task } from "./tasks.ts";
import type { Holder } from "./tracker.ts";

/** A task of a circle waits for what the next one holds. */
export interface CycleEdge {
  readonly task: Task;
  /** The record of its wait; undefined if it waits for a task that it has called. */
  readonly wait: LeakRecord | undefined;
  /** The record of what the next task of the circle holds; of that task, if this one has called it. */
  readonly hold: LeakRecord;
}

/** What tasks wait for: several may wait for one. */
interface Obstacle {
  readonly holds: readonly LeakRecord[];
  readonly enough: Holder["enough"];
  /** The tasks that wait for it. Emptied when their waits are found to be able to end. */
  readonly waiting: Task[];
  /** How many of its holders are not stuck, or not known. */
  free: number;
}

interface Edge {
  readonly wait: LeakRecord | undefined;
  readonly obstacle: Obstacle;
}

/** All circles that there are now, each once. One task waits in one circle at most, even if it has several flows. */
export function findCycles(): CycleEdge[][] {
  const edges = allEdges();
  const stuck = stuckTasks(edges);
  const cycles: CycleEdge[][] = [];
  const done = new Set<Task>();
  for (const start of stuck) {
    const path = new Map<Task, CycleEdge>();
    let task = start;
    while (!done.has(task)) {
      done.add(task);
      const edge = edgeToStuck(task, edges.get(task) as Edge[], stuck);
      path.set(task, edge);
      task = edge.hold.task as Task;
    }
    // The path ends in a task of an earlier one, or in one of its own: that is where the circle begins.
    if (path.has(task)) cycles.push([...path.values()].slice([...path.keys()].indexOf(task)));
  }
  return cycles;
}

/** What each task waits for. Nothing is known of the holders where `holds` is empty. */
function allEdges(): Map<Task, Edge[]> {
  const edges = new Map<Task, Edge[]>();
  const obstacles = new Map<Holder | undefined, Obstacle>();
  const called = new Set<Task>();
  const addEdge = (task: Task, wait: LeakRecord | undefined, obstacle: Obstacle) => {
    obstacle.waiting.push(task);
    const own = edges.get(task);
    if (own === undefined) edges.set(task, [{ wait, obstacle }]);
    else own.push({ wait, obstacle });
  };
  for (const record of allRecords()) {
    let { task } = record;
    if (task === undefined) continue;
    if (record.kind.class === "wait") {
      const { holder } = record;
      let obstacle = obstacles.get(holder);
      if (obstacle === undefined) {
        obstacle = newObstacle([...(holder?.records ?? [])], holder?.enough ?? "all");
        obstacles.set(holder, obstacle);
      }
      addEdge(task, record, obstacle);
    }
    for (let { caller } = task; caller !== undefined && !called.has(task); { caller } = task) {
      if (!task.record.isAlive()) break; // It has ended, and left a wait behind.
      called.add(task);
      addEdge(caller, undefined, newObstacle([task.record], "all"));
      task = caller;
    }
  }
  return edges;
}

function newObstacle(holds: readonly LeakRecord[], enough: Holder["enough"]): Obstacle {
  return { holds, enough, waiting: [], free: 0 };
}

function isBlocked({ holds, enough, free }: Obstacle): boolean {
  return free < (enough === "one" ? Math.min(1, holds.length) : holds.length);
}

/** Step 2: the tasks none of whose waits can end. */
function stuckTasks(edges: Map<Task, Edge[]>): Set<Task> {
  const stuck = new Set(edges.keys());
  // Where each task holds something that is waited for; a task with several holds there stands there as often.
  const heldBy = new Map<Task, Obstacle[]>();
  const freed: Task[] = [];
  const free = (obstacle: Obstacle) => {
    for (const task of obstacle.waiting.splice(0)) if (stuck.delete(task)) freed.push(task);
  };
  const obstacles = new Set([...edges.values()].flatMap((own) => own.map(({ obstacle }) => obstacle)));
  for (const obstacle of obstacles) {
    for (const { task } of obstacle.holds) {
      if (task === undefined || !edges.has(task)) obstacle.free++;
      else if (heldBy.get(task)?.push(obstacle) === undefined) heldBy.set(task, [obstacle]);
    }
    if (!isBlocked(obstacle)) free(obstacle);
  }
  for (const task of freed) {
    for (const obstacle of heldBy.get(task) ?? []) {
      obstacle.free++;
      if (!isBlocked(obstacle)) free(obstacle);
    }
  }
  return stuck;
}

/** A wait of a stuck task for one that is stuck: for itself, if there is such a wait. */
function edgeToStuck(task: Task, edges: readonly Edge[], stuck: ReadonlySet<Task>): CycleEdge {
  let first: CycleEdge | undefined;
  for (const { wait, obstacle } of edges) {
    for (const hold of obstacle.holds) {
      if (hold.task === undefined || !stuck.has(hold.task)) continue;
      if (hold.task === task) return { task, wait, hold };
      first ??= { task, wait, hold };
    }
  }
  return first as CycleEdge;
}
