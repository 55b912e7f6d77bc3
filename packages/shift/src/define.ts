import type { OptionSpecs, OptionValues, Tensor } from "@loomweight/tensor";

/** What a method says of a batch. */
export interface Prediction {
  /** [N, classes], rows sum to 1. */
  readonly probabilities: Tensor;
  /** [N, classes], where the prediction is one of a network. */
  readonly logits?: Tensor;
  /** What the method measured on the way, to watch a process that runs for long: loss, confidence. */
  readonly measures?: Readonly<Record<string, number>>;
}

/** A frozen classifier: any function from a batch to its outputs, whatever runs it. */
export interface Classifier {
  /** x [N, …] → logits [N, classes] and, where a method needs them, features [N, D] of the layer before the head. */
  classify(x: Tensor): Promise<{ readonly logits: Tensor; readonly features?: Tensor }>;
}

/** State between batches: plain data and tensors by name, so that it can be saved and taken up again. */
export type ShiftState = Readonly<Record<string, Tensor | number | string | boolean>>;

/** Options that are code (an optimizer, an augmentation), not data. */
export type Functions = Readonly<Record<string, unknown>>;

/** Batches an estimator is fitted on. */
export type FittingData = AsyncIterable<Tensor> | Iterable<Tensor>;

/**
 * How a deployed model copes with inputs that differ from those it was trained on. A method is pure functions of model,
 * state and batch; `M` is what it needs of the model (a `Classifier`, a graph that can be trained), `F` its options that
 * are code. What is fitted once has `init` and `predict`; what goes on learning also has `update`.
 */
export interface ShiftMethod<
  M,
  O extends OptionSpecs = OptionSpecs,
  S extends ShiftState = ShiftState,
  F extends object = object,
> {
  /** The published name in kebab case, as file and page have it. */
  readonly name: string;
  readonly source: string;
  /** What it does, in one sentence: the row of the table of methods. */
  readonly summary: string;
  readonly options: O;
  /** Names of the options that are code: they are handed on as they are. */
  readonly functions?: readonly (keyof F & string)[];
  /** State before the first batch; estimators fit here, from `data`. */
  init(model: M, options: OptionValues<O> & F, data?: FittingData): Promise<S>;
  /** What it says of a batch x [N, …] in this state. Learns nothing. */
  predict(model: M, state: S, x: Tensor, options: OptionValues<O> & F): Promise<Prediction>;
  /**
   * Learns from one batch x [N, …] without labels: the state for the next one, and what it says of this one (most
   * methods predict from the very passes they learn from). Absent: nothing is learnt after `init`.
   */
  update?(
    model: M,
    state: S,
    x: Tensor,
    options: OptionValues<O> & F,
  ): Promise<{ readonly state: S; readonly prediction: Prediction }>;
}

/** Declares a method; the types of its options follow from their specs. */
export function defineShiftMethod<M, const O extends OptionSpecs, S extends ShiftState, F extends object = object>(
  method: ShiftMethod<M, O, S, F>,
): ShiftMethod<M, O, S, F> {
  return method;
}
