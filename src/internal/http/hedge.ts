/** Hedging: a further attempt is sent while the first goes unanswered, and the first answer counts. */
import { afterFunc, type FuncTimer } from "../../time.ts";
import { guarded } from "../host/async.ts";
import { withoutStack } from "../host/errors.ts";
import type { Attempt } from "./attempt.ts";
import type { Call } from "./call.ts";
import { CallCanceledError } from "./errors.ts";
import { NOT_COUNTED } from "./hosts.ts";
import type { HedgePolicy } from "./options.ts";

/**
 * Resolves to the first attempt whose answer is no failure, or to the last one of all; the other attempts are aborted.
 * Rejects with the first error if no attempt is answered. `launch` begins a further attempt; it returns undefined where
 * there is no slot for one, or the budget has no token.
 */
export function hedged(
  call: Call,
  policy: HedgePolicy,
  first: [Attempt, Promise<Attempt>],
  launch: () => [Attempt, Promise<Attempt>] | undefined,
): Promise<Attempt> {
  return new Promise((resolve, reject) => {
    const running = new Set<Attempt>();
    let timer: FuncTimer | undefined;
    let sent = 0;
    let failure: Attempt | undefined;
    let error: unknown;

    const finish = (settle: () => void): void => {
      timer?.stop();
      for (const attempt of running) attempt.abort(lost(call), NOT_COUNTED);
      running.clear();
      settle();
    };
    const end = (attempt: Attempt): void => {
      running.delete(attempt);
      if (running.size > 0) return;
      const answer = failure;
      finish(() => (answer === undefined ? reject(error) : resolve(answer)));
    };
    const add = ([attempt, answer]: [Attempt, Promise<Attempt>]): void => {
      running.add(attempt);
      answer.then(
        () => {
          if (!running.has(attempt)) {
            attempt.drop();
          } else if (attempt.response.status < 500) {
            running.delete(attempt);
            failure?.drop();
            finish(() => resolve(attempt));
          } else {
            failure?.drop();
            failure = attempt;
            end(attempt);
          }
        },
        (thrown) => {
          if (!running.has(attempt)) return;
          error ??= thrown;
          end(attempt);
        },
      );
      if (++sent <= policy.max) timer = afterFunc(policy.after, next);
    };
    const next = (): void => {
      if (running.size === 0) return;
      guarded(() => {
        const another = launch();
        if (another !== undefined) add(another);
      });
    };
    add(first);
  });
}

function lost(call: Call): CallCanceledError {
  const cause = new Error("another attempt was answered first");
  const details = call.details("headers", "maybe", cause);
  return withoutStack(() => new CallCanceledError(`call to ${details.host}: ${cause.message}`, details));
}
