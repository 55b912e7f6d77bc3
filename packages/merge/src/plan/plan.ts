import type { DType } from "@loomweight/tensor";
import type { AlignedRows } from "../tokenizer/vocabulary.ts";

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
  /** Plans of the models that are documents of the same recipe, by their index; their tensors are computed when read. */
  readonly documents?: Readonly<Record<number, MergePlan>>;
  /** Adapters that are folded into such documents, by the same index: as the recipe spells them. */
  readonly adapters?: Readonly<Record<number, string>>;
  /** Set where embeddings are rebuilt to one vocabulary before they are merged. */
  readonly vocabulary?: PlannedVocabulary;
  /** Set where the recipe asks for a tokenizer: the one to write. */
  readonly tokenizer?: PlannedTokenizer;
  /** Text of the chat template to write, where the recipe asks for one. */
  readonly chatTemplate?: string;
  readonly warnings: readonly string[];
}

/** How the embeddings and heads [tokens, width] of every model are rebuilt to the vocabulary of the output. */
export interface PlannedVocabulary {
  /** Rows of the output, padding included. */
  readonly rows: number;
  readonly tokens: number;
  /** Per model, where each row comes from. */
  readonly inputs: readonly AlignedRows[];
  /** Per model, the tensors that are rebuilt, each with the tensor of every model that plays its part. */
  readonly embeddings: readonly Readonly<Record<string, readonly string[]>>[];
}

export interface PlannedTokenizer {
  /** Index of the model whose other tokenizer files travel along. */
  readonly donor: number;
  /** Contents of tokenizer.json. */
  readonly file: Readonly<Record<string, unknown>>;
  /** Whether its tokens differ from those of the donor. */
  readonly changed: boolean;
}

/** One output tensor. */
export interface TensorPlan {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Present: this tensor is taken as it is, and no method runs; its values are cast where `dtype` is another. */
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
