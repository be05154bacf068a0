/** How much of the machine's processors other programs use, while the processes of the replay run. */
import { cpus } from "node:os";
import type { Child } from "./ipc.ts";
import { clock } from "./probe.ts";

/** The processor time used up to an instant, in ms: by all programs of the machine, and by the replay. */
interface Used {
  readonly at: number;
  readonly machine: number;
  readonly replay: number;
}

/** The processor time that this process has used, in ms. */
export function usedHere(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

/** Says, at each call, how many processors other programs have used since the one before. */
export class Others {
  readonly #children: readonly Child[];
  #last: Used | undefined;

  constructor(children: readonly Child[]) {
    this.#children = children;
  }

  async next(): Promise<number> {
    const used = await this.#used();
    const last = this.#last ?? used;
    this.#last = used;
    const others = used.machine - last.machine - (used.replay - last.replay);
    return Math.max(0, others) / Math.max(1, used.at - last.at);
  }

  async #used(): Promise<Used> {
    const machine = cpus().reduce((ms, { times }) => ms + times.user + times.nice + times.sys + times.irq, 0);
    const at = clock();
    const children = await Promise.all(this.#children.map((child) => child.request("used", null)));
    return { at, machine, replay: children.reduce((sum, ms) => sum + ms, usedHere()) };
  }
}
