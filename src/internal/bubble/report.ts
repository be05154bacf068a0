/** What the errors of a bubble say about its tasks and waits. */

import type { LeakRecord } from "../track/records.ts";
import { blockerOf, blockerText } from "../track/tasks.ts";
import type { TaskTree } from "./tasks.ts";

/** Something to show. */
interface Item {
  readonly what: string;
  readonly record: LeakRecord | undefined;
  /** How long it has waited, in milliseconds of the bubble's time. */
  readonly for?: number;
}

/** How many groups a message shows in full. */
const DETAILED = 10;

/** `ended`: whether the bubble's function has. The first line is Go's. */
export function deadlockMessage(tree: TaskTree, ended: boolean, now: number): string {
  const items: Item[] = [];
  const waiting = new Set<object>();
  for (const { task, kind, record, since } of tree.waits) {
    waiting.add(task);
    items.push({ what: kind, record, for: now - since });
  }
  // After the end of the function, time stands still.
  for (const task of tree.alive) {
    if (task.children === 0 && !waiting.has(task))
      items.push({ what: "task that waits for a timer", record: task.record });
  }
  const blocked = ended
    ? "main bubble goroutine has exited but blocked goroutines remain"
    : "all goroutines in bubble are blocked";
  return [`deadlock: ${blocked}`, ...groupsOf(items)].join("\n\n");
}

/** `resources`: what the process has begun. */
export function stuckMessage(ms: number, tree: TaskTree, resources: readonly string[]): string {
  const items = tree
    .runningTasks()
    .map(({ parent, record }) => ({ what: parent === undefined ? "function of the bubble" : "task", record }));
  const begun = resources.length === 0 ? [] : [`the process has begun, and not ended: ${resources.join(", ")}`];
  const all = [...groupsOf(items), ...begun];
  return [`synctest: stuck for ${Math.round(ms)} ms on what is not of the bubble`, ...all].join("\n\n");
}

/** Items of one sort and one place together, the first of them with how many there are. */
function groupsOf(items: readonly Item[]): string[] {
  const groups = new Map<string, Item[]>();
  for (const item of items) {
    const key = `${item.what}\n${item.record?.stack}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [item]);
    else group.push(item);
  }
  const all = [...groups.values()];
  const lines = all.slice(0, DETAILED).map(describe);
  const rest = all.slice(DETAILED).reduce((sum, group) => sum + group.length, 0);
  if (rest > 0) lines.push(`and ${rest} more`);
  return lines;
}

function describe(group: readonly Item[]): string {
  const { what, record, for: ms } = group[0] as Item;
  const head = `${group.length} ${what}${ms === undefined ? "" : `, for ${Math.round(ms)} ms`}`;
  if (what === "function of the bubble") return head;
  if (record === undefined) return `${head}: to see where it was made, call leak.track("full") before`;
  const blocker = blockerOf(record);
  const by = blocker === undefined ? "" : `\n${blockerText(blocker)}`;
  return `${head}, made at\n${record.stack}${by}`;
}
