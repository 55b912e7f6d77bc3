import type { Optimizer } from "@loomweight/graph/training";
import { LoomweightError } from "@loomweight/tensor";
import type { Schedule } from "./schedules/schedule.ts";

/**
 * An optimizer whose momentum follows a schedule: `scheduleMomentum(sgd({ momentum: 0.9 }), oneCycleMomentum({ steps }))`.
 * For `sgd` and `lars` with momentum above 0; throws `INVALID_OPTION` for an optimizer without a momentum of its step.
 */
export function scheduleMomentum(optimizer: Optimizer, momentum: Schedule): Optimizer {
  if (!(optimizer.scalars(1, 1).momentum > 0)) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: `${optimizer.name} has no momentum that a schedule could move`,
      expected: "sgd or lars with momentum above 0",
      fix: "In a chain, wrap the optimizer itself: chain(clip, scheduleMomentum(sgd({ momentum: 0.9 }), schedule)).",
    });
  }
  return {
    ...optimizer,
    scalars: (step, learningRate) => ({ ...optimizer.scalars(step, learningRate), momentum: momentum(step - 1) }),
  };
}
