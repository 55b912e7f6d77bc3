import type { OptionSpec, OptionSpecs, OptionValues } from "@loomweight/tensor";
import type { FormulaTerms } from "./formula.ts";
import type { LazyTensor } from "./lazy/lazy-tensor.ts";

/** What a method is given and how many. */
export interface MergeNeeds {
  /**
   * `required`: task vectors are taken from it. `optional`: used where given. `ordinary`: a base is one of the models
   * like any other.
   */
  readonly base: "required" | "optional" | "ordinary";
  /** How many models beside the base (of a method whose base is `ordinary`: how many in all). */
  readonly models: { readonly min: number; readonly max?: number };
}

/** One model's share in the tensor that is merged. */
export interface MergeInput<I extends OptionSpecs> {
  readonly tensor: LazyTensor;
  readonly options: OptionValues<I>;
  /** Path or label, for messages. */
  readonly name: string;
  /** Position among the models, the base not counted: random masks are keyed by it. */
  readonly index: number;
}

export interface MergeSources<I extends OptionSpecs, N extends MergeNeeds> {
  readonly base: N["base"] extends "required" ? LazyTensor : LazyTensor | undefined;
  readonly models: readonly MergeInput<I>[];
}

export interface MergeContext {
  /** Name of the output tensor. */
  readonly tensor: string;
  /** Seed of everything random; default 0. */
  readonly seed: number;
}

/**
 * How tensors of several models become one. Options of one model (`weight`, `density`) are told apart from those of
 * the method (`lambda`, `normalize`); in recipes both are written in snake case.
 */
export interface MergeMethod<
  I extends OptionSpecs = OptionSpecs,
  O extends OptionSpecs = OptionSpecs,
  N extends MergeNeeds = MergeNeeds,
> {
  /** The published name in kebab case, as file, page and command line have it. */
  readonly name: string;
  /** Paper or project it is defined by. */
  readonly source: string;
  /** What it does, in one sentence: the row of the table of methods. */
  readonly summary: string;
  /** The formula of one tensor with its numbers in place, for `explain`; default: the summary. */
  readonly formula?: (terms: FormulaTerms) => string;
  readonly needs: N;
  readonly inputOptions: I;
  readonly options: O;
  /**
   * Vocabularies of unequal size, without tokenizer settings: `common` cuts embeddings and heads to the rows and
   * columns that all have; `base` cuts larger ones to the base, and leaves a model out of any other tensor whose shape
   * differs from the base; `refuse` does neither.
   */
  readonly unequalShapes: "common" | "base" | "refuse";
  merge(sources: MergeSources<I, N>, options: OptionValues<O>, context: MergeContext): LazyTensor | Promise<LazyTensor>;
}

/** A method whose option types are not known here: what recipes and lists hold. */
// biome-ignore lint/suspicious/noExplicitAny: the options were checked against the method's own specs
export type AnyMergeMethod = MergeMethod<any, any, any>;

/** Declares a merge method; the types of its options follow from their specs. */
export function defineMergeMethod<const I extends OptionSpecs, const O extends OptionSpecs, const N extends MergeNeeds>(
  method: MergeMethod<I, O, N>,
): MergeMethod<I, O, N> {
  return method;
}

/** `int8Mask` → `int8_mask`: how a recipe spells an option. */
export function recipeSpelling(option: string): string {
  return option.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** The method's options under their recipe spelling. */
export function recipeOptions(
  specs: OptionSpecs,
): ReadonlyMap<string, { readonly option: string; readonly spec: OptionSpec }> {
  return new Map(Object.entries(specs).map(([option, spec]) => [recipeSpelling(option), { option, spec }]));
}
