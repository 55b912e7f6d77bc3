import type { DType } from "@loomweight/tensor";

/** What a merge will write and from what, decided from headers alone. Plain data. */
export interface MergePlan {
  /** Name of the merge method. */
  readonly method: string;
  /** References of the models, as the recipe spells them. */
  readonly models: readonly string[];
  readonly tensors: readonly TensorPlan[];
  /** config.json of the output; undefined where the donor has none. */
  readonly config: Readonly<Record<string, unknown>> | undefined;
  /** Index of the model whose config and companion files are taken. */
  readonly donor: number;
  readonly warnings: readonly string[];
}

/** One output tensor. */
export interface TensorPlan {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Present: the bytes of this tensor are copied as they are, and no method runs. */
  readonly copy?: TensorReference;
  /** The base, where the method takes one apart from the models. */
  readonly base?: TensorReference;
  readonly inputs: readonly TensorInput[];
  /** Options of the method, for this tensor. */
  readonly options: Readonly<Record<string, unknown>>;
}

export interface TensorReference {
  /** Index into the plan's models. */
  readonly model: number;
  readonly tensor: string;
  /** Leading rows and columns taken, where the stored tensor has more. */
  readonly cut?: readonly number[];
}

export interface TensorInput extends TensorReference {
  /** Options of this input, for this tensor. */
  readonly options: Readonly<Record<string, unknown>>;
}
