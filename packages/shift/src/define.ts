import type { OptionSpecs, OptionValues, Tensor } from "@loomweight/tensor";

/** What a method says of a batch. */
export interface Prediction {
  /** [N, classes], rows sum to 1. */
  readonly probabilities: Tensor;
}

/** A frozen classifier: any function from a batch to its outputs, whatever runs it. */
export interface Classifier {
  /** x [N, …] → logits [N, classes] and, where a method needs them, features [N, D] of the layer before the head. */
  classify(x: Tensor): Promise<{ readonly logits: Tensor; readonly features?: Tensor }>;
}

/** State between batches: plain data and tensors by name, so that it can be saved and taken up again. */
export type ShiftState = Readonly<Record<string, Tensor | number | string | boolean>>;

/**
 * How a deployed model copes with inputs that differ from those it was trained on. A method is a pure function of
 * model, state and batch; `M` is what it needs of the model (a `Classifier`, a graph that can be trained).
 */
export interface ShiftMethod<M, O extends OptionSpecs = OptionSpecs, S extends ShiftState = ShiftState> {
  /** The published name in kebab case, as file and page have it. */
  readonly name: string;
  readonly source: string;
  /** What it does, in one sentence: the row of the table of methods. */
  readonly summary: string;
  readonly options: O;
  /** State before the first batch; estimators fit here, from `data`. */
  init(model: M, options: OptionValues<O>, data?: AsyncIterable<Tensor> | Iterable<Tensor>): Promise<S>;
  /** One batch x [N, …]: what it predicts, and the state for the next one. */
  step(
    model: M,
    state: S,
    x: Tensor,
    options: OptionValues<O>,
  ): Promise<{ readonly state: S; readonly prediction: Prediction }>;
}

/** Declares a method; the types of its options follow from their specs. */
export function defineShiftMethod<M, const O extends OptionSpecs, S extends ShiftState>(
  method: ShiftMethod<M, O, S>,
): ShiftMethod<M, O, S> {
  return method;
}
