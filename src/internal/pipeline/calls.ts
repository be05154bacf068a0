/**
 * Calls of a function for the items of an input, several at once, whose results are handed out in order or as they
 * come.
 */
import type { Context } from "../../context.ts";
import { Ring } from "../data/ring.ts";
import { budgetWait, completed } from "../time/turn.ts";
import { enter, exit, isObserved, runTaskWith, TASK } from "../track/tracker.ts";
import type { Flow } from "./flow.ts";
import { type AnyInput, takeEach } from "./inputs.ts";

export type EachFunction<T> = (item: T, ctx: Context, index: number) => unknown;

/** Says what to hand out for an item and the result of its call: the item or the result, or nothing. */
export type Choice = "result" | "item if the result is truthy";

/** The place of one item's result in the order of the results. */
interface Place {
  state: "open" | "filled" | "empty";
  value: unknown;
}

export class Calls<T> {
  readonly #flow: Flow<unknown>;
  readonly #fn: EachFunction<T>;
  readonly #choice: Choice;

  // The places that nothing has been handed out for, in order. Undefined if the order does not matter.
  readonly #places: Ring<Place> | undefined;

  constructor(flow: Flow<unknown>, fn: EachFunction<T>, choice: Choice, ordered: boolean) {
    this.#flow = flow;
    this.#fn = fn;
    this.#choice = choice;
    this.#places = ordered ? new Ring() : undefined;
  }

  /** Calls the function for each item, as many at once as the flow has slots. Does not wait for the last calls. */
  async run(input: AnyInput<T>): Promise<void> {
    let index = 0;
    await takeEach(this.#flow, input, (item) => {
      void this.#call(item, index++);
      return budgetWait();
    });
  }

  async #call(item: T, index: number): Promise<void> {
    const flow = this.#flow;
    flow.taskStarted();
    const record = enter(TASK, undefined, undefined, flow.stack);
    const place: Place | undefined = this.#places && { state: "open", value: undefined };
    if (place !== undefined) this.#places?.push(place);
    try {
      await completed();
      if (flow.source.poll() === undefined) {
        const fn = this.#fn;
        const result = await (isObserved()
          ? runTaskWith(record, fn, item, flow.ctx, index)
          : fn(item, flow.ctx, index));
        if (this.#choice === "result") this.#put(place, true, result);
        else this.#put(place, Boolean(result), item);
      }
    } catch (error) {
      flow.fail(error);
    }
    exit(TASK, record);
    flow.taskEnded();
  }

  #put(place: Place | undefined, isResult: boolean, value: unknown): void {
    if (place === undefined) {
      this.#handOut(isResult, value);
      return;
    }
    place.state = isResult ? "filled" : "empty";
    place.value = value;
    const places = this.#places as Ring<Place>;
    while (places.size > 0 && places.front.state !== "open") {
      const first = places.shift();
      this.#handOut(first.state === "filled", first.value);
    }
  }

  #handOut(isResult: boolean, value: unknown): void {
    if (isResult) this.#flow.deliver(value);
    else this.#flow.release();
  }
}
