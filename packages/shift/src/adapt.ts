import { fraction, integer, type OptionSpecs, type OptionValues, parseOptions, type Tensor } from "@loomweight/tensor";
import { watchCollapse } from "./collapse.ts";
import type { FittingData, Prediction, ShiftMethod, ShiftState } from "./define.ts";

/** A method at work on a stream of batches. */
export interface Adapter<S extends ShiftState> {
  /** Predicts a batch [N, …] and learns from it; calls follow one another in the order they are made. */
  step(x: Tensor): Promise<Prediction>;
  /** Predicts a batch after the steps already asked for, and learns nothing. */
  predict(x: Tensor): Promise<Prediction>;
  /** The present state, to save: see `encodeState`. */
  readonly state: S;
  /** How often it started over by itself: `resetEvery`, `resetAtShare`. */
  readonly resets: number;
  /** Back to the state at the start, as for a new stream. */
  reset(): void;
}

export interface AdaptOptions<S extends ShiftState> {
  /** What an estimator fits on. */
  readonly data?: FittingData;
  /** A state saved before; default: the method's own start. */
  readonly state?: S;
  /** Starts over after so many batches, whatever happened: a bound on drift. Default never. */
  readonly resetEvery?: number;
  /**
   * Starts over when the mean prediction of the last batches (each weighs a tenth) gives one class more than this share:
   * the sign of a collapse. Not for streams where one class really fills many batches. Default never.
   */
  readonly resetAtShare?: number;
}

const guards = {
  resetEvery: integer(undefined, "batches after which it starts over", { min: 1 }),
  resetAtShare: fraction(undefined, "share of one class at which it starts over"),
};

/**
 * Runs a method over a stream: holds its state between batches. `state` takes up where a saved one ended; starting over
 * goes back to it. Throws `INVALID_OPTION` and `UNKNOWN_OPTION`.
 */
export async function adapt<M, O extends OptionSpecs, S extends ShiftState, F extends object = object>(
  method: ShiftMethod<M, O, S, F>,
  model: M,
  options: Partial<OptionValues<O> & NoInfer<F>> & AdaptOptions<S> = {},
): Promise<Adapter<S>> {
  const { data, state: saved, resetEvery, resetAtShare, ...given } = options;
  const { checked, every, share } = check(method, given, { resetEvery, resetAtShare });
  const start = saved ?? (await method.init(model, checked, data));
  const collapse = watchCollapse(share);
  let state = start;
  let batches = 0;
  let resets = 0;
  let last: Promise<unknown> = Promise.resolve();
  const after = <T>(work: () => Promise<T>): Promise<T> => {
    const next = last.then(work);
    last = next.catch(() => {});
    return next;
  };
  const startOver = () => {
    state = start;
    batches = 0;
    collapse.forget();
  };
  return {
    step: (x) =>
      after(async () => {
        if (every !== undefined && batches >= every) {
          startOver();
          resets++;
        }
        batches++;
        if (method.update === undefined) return method.predict(model, state, x, checked);
        const { state: next, prediction } = await method.update(model, state, x, checked);
        state = next;
        if (collapse.sees(prediction.probabilities)) {
          startOver();
          resets++;
        }
        return prediction;
      }),
    predict: (x) => after(() => method.predict(model, state, x, checked)),
    get state() {
      return state;
    },
    get resets() {
      return resets;
    },
    reset: startOver,
  };
}

/** Options that are data are checked, those that are code handed on. */
function check<M, O extends OptionSpecs, S extends ShiftState, F extends object>(
  method: ShiftMethod<M, O, S, F>,
  given: Readonly<Record<string, unknown>>,
  guard: Readonly<Record<"resetEvery" | "resetAtShare", number | undefined>>,
): { checked: OptionValues<O> & F; every?: number; share?: number } {
  const functions = new Set<string>(method.functions ?? []);
  const part = (code: boolean) =>
    Object.fromEntries(
      Object.entries(given).filter(([name, value]) => functions.has(name) === code && value !== undefined),
    );
  const checked = { ...parseOptions(method.options, part(false), method.name), ...part(true) } as OptionValues<O> & F;
  const { resetEvery, resetAtShare } = guard;
  return {
    checked,
    every: resetEvery === undefined ? undefined : guards.resetEvery.check(resetEvery, { option: "resetEvery" }),
    share: resetAtShare === undefined ? undefined : guards.resetAtShare.check(resetAtShare, { option: "resetAtShare" }),
  };
}
