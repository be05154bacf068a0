/** The hub of a broadcast: a flow that takes the items, and a flow for each subscriber, in which it puts them. */
import type { Cancel, CancelScope } from "../../context.ts";
import { budgetWait } from "../time/turn.ts";
import { onBehalfOf } from "../track/tracker.ts";
import { Flow } from "./flow.ts";
import { type AnyInput, takeEach } from "./inputs.ts";

/** What becomes of an item for which a subscriber has no room. */
export type Slow = "block" | "dropOldest" | "dropNewest";

interface Subscriber<T> {
  readonly flow: Flow<T>;
  readonly slow: Slow;
}

export class Hub<T> {
  readonly #parent: Cancel;
  readonly #withCancel: (parent: Cancel) => CancelScope;

  // Those that have not stopped, in the order in which they subscribed.
  readonly #subscribers = new Set<Subscriber<T>>();

  // Takes the items. It starts with the first subscriber that is iterated, and stops when the last one has left.
  readonly #flow: Flow<never>;

  constructor(parent: Cancel, withCancel: (parent: Cancel) => CancelScope, input: AnyInput<T>) {
    this.#parent = parent;
    this.#withCancel = withCancel;
    this.#flow = new Flow({ parent, withCancel, slots: 1, inputs: [input], body: (flow) => this.#run(flow, input) });
  }

  /** A subscriber, who gets the items from now on. Up to `buffer` of them wait for its consumer. */
  subscribe(buffer: number, slow: Slow): Flow<T> {
    const flow: Flow<T> = new Flow({
      parent: this.#parent,
      withCancel: this.#withCancel,
      slots: buffer,
      inputs: [],
      onStart: () => this.#flow.start(),
      body: ({ source }) => this.#flow.whenEnded(source),
      onStop: () => this.#leave(subscriber),
    });
    const subscriber: Subscriber<T> = { flow, slow };
    this.#subscribers.add(subscriber);
    return flow;
  }

  /** Removes a subscriber. The last one stops the hub, and waits for it. */
  #leave(subscriber: Subscriber<T>): Promise<unknown> | undefined {
    this.#subscribers.delete(subscriber);
    const flow = this.#flow;
    return this.#subscribers.size === 0 ? onBehalfOf(flow.stack, () => flow.return()) : undefined;
  }

  async #run(hub: Flow<never>, input: AnyInput<T>): Promise<void> {
    const { source } = hub;
    const taker = { source, stack: hub.stack, fail: (error: unknown) => hub.fail(error) };
    await takeEach(taker, input, async (item) => {
      for (const { flow, slow } of [...this.#subscribers]) {
        if (slow !== "block" && flow.isFull) {
          if (slow === "dropNewest") continue;
          flow.retract();
        }
        const room = flow.reserve(source);
        if (room !== undefined) await room;
        flow.deliver(item);
      }
      await budgetWait();
    });
  }
}
