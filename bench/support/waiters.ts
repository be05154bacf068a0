/** Receivers parked on one channel, served in turn: each parks again behind the others. */
import { Channel } from "gopark";
import { Line } from "./floor.ts";
import { check } from "./row.ts";

/** How many are served by one call. */
export const PER_CALL = 5_000;

export class ParkedOnChannel {
  private readonly ch = new Channel<number>();
  private parked = 0;
  private received = 0;

  /** Parks as many as are missing, then serves. The channel is left open and the receivers parked. */
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

export class ParkedOnLine {
  private readonly ch = new Line<number>();
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
