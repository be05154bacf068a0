/**
 * How much of the machine's processors other programs use, while the processes of the replay run.
 *
 * By what the system counts: not what another guest of the same hypervisor takes; and in a container, of all processors
 * of the host, though fewer may be allowed. A machine that is busy in such a way is noticed only by what is late.
 */
import { cpus } from "node:os";
import { type Child, usedHere } from "./ipc.ts";
import { clock } from "./probe.ts";

/** The processor time used up to an instant, in ms: by all programs of the machine, and by the replay. */
interface Used {
  readonly at: number;
  readonly machine: number;
  readonly replay: number;
}

/** Says, at each call, how many processors other programs have used since the one before; 0 at the first. */
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
    // First, as a child that is busy answers late: what it used until then is to be in both figures.
    const children = await Promise.all(this.#children.map((child) => child.request("used", null)));
    const machine = cpus().reduce((ms, { times }) => ms + times.user + times.nice + times.sys + times.irq, 0);
    return { at: clock(), machine, replay: children.reduce((sum, ms) => sum + ms, usedHere()) };
  }
}
