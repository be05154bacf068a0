/** Receivers parked on one channel, which receive in turn and park again behind the others. */
import { Channel } from "gopark";
import { QueuedHandoff } from "./floor.ts";
import { check } from "./row.ts";

/** How many values one call sends. */
export const PER_CALL = 5_000;

export class ParkedOnChannel {
  private readonly ch = new Channel<number>();
  private parked = 0;
  private received = 0;

  /** Parks receivers until there are `receivers`, then sends. The channel stays open and the receivers stay parked. */
  async serve(receivers: number): Promise<void> {
    const { ch } = this;
    for (; this.parked < receivers; this.parked++) void this.receive();
    const before = this.received;
    for (let i = 0; i < PER_CALL; i++) await ch.send(1);
    await DONE;
    check(this.received - before, PER_CALL);
  }

  private async receive(): Promise<void> {
    for (;;) {
      const { value, ok } = await this.ch.receive();
      if (!ok) return;
      this.received += value;
    }
  }

  close(): void {
    this.ch.close();
  }
}

export class ParkedOnFloor {
  private readonly ch = new QueuedHandoff<number>();
  private parked = 0;
  private received = 0;

  async serve(receivers: number): Promise<void> {
    const { ch } = this;
    for (; this.parked < receivers; this.parked++) void this.receive();
    const before = this.received;
    for (let i = 0; i < PER_CALL; i++) await ch.send(1);
    await DONE;
    check(this.received - before, PER_CALL);
  }

  private async receive(): Promise<void> {
    for (;;) {
      const { value, ok } = await this.ch.receive();
      if (!ok) return;
      this.received += value;
    }
  }
}

const DONE = Promise.resolve();
