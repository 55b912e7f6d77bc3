import { type OptionSpecs, type OptionValues, parseOptions, type Tensor } from "@loomweight/tensor";
import type { Prediction, ShiftMethod, ShiftState } from "./define.ts";

/** A method at work on a stream of batches. */
export interface Adapter<S extends ShiftState> {
  /** Predicts a batch [N, …] and adapts; calls follow one another in the order they are made. */
  step(x: Tensor): Promise<Prediction>;
  /** The present state, to save. */
  readonly state: S;
  /** Back to the state at the start, as for a new stream. */
  reset(): void;
}

export interface AdaptOptions<S extends ShiftState> {
  /** What an estimator fits on. */
  readonly data?: AsyncIterable<Tensor> | Iterable<Tensor>;
  /** A state saved before; default: the method's own start. */
  readonly state?: S;
}

/**
 * Runs a method over a stream: holds its state between batches. `state` takes up where a saved one ended. Throws
 * `INVALID_OPTION` and `UNKNOWN_OPTION`.
 */
export async function adapt<M, O extends OptionSpecs, S extends ShiftState>(
  method: ShiftMethod<M, O, S>,
  model: M,
  options: Partial<OptionValues<O>> & AdaptOptions<S> = {},
): Promise<Adapter<S>> {
  const { data, state: saved, ...given } = options;
  const checked = parseOptions(method.options, given, method.name);
  const start = saved ?? (await method.init(model, checked, data));
  let state = start;
  let last: Promise<unknown> = Promise.resolve();
  return {
    step(x) {
      const next = last.then(async () => {
        const result = await method.step(model, state, x, checked);
        state = result.state;
        return result.prediction;
      });
      last = next.catch(() => {});
      return next;
    },
    get state() {
      return state;
    },
    reset() {
      state = start;
    },
  };
}
