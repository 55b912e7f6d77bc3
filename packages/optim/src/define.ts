import type { Optimizer } from "@loomweight/graph/training";
import { type OptionSpecs, type OptionValues, parseOptions } from "@loomweight/tensor";

/**
 * An optimizer as a function of its options: `adamw({ weightDecay: 0.1 })`. Unknown options and values out of range
 * throw `UNKNOWN_OPTION` and `INVALID_OPTION`.
 */
export interface OptimizerMethod<S extends OptionSpecs = OptionSpecs> {
  (options?: Partial<OptionValues<S>>): Optimizer;
  /** The published name in kebab case, as file and page have it. */
  readonly name: string;
  /** Paper or project it is defined by. */
  readonly source: string;
  /** What it does, in one sentence: the row of the table. */
  readonly summary: string;
  /** The rate its authors or its best-known implementation start from. */
  readonly learningRate: number;
  readonly options: S;
}

/** An optimizer whose option types are not known here: what lists hold. */
// biome-ignore lint/suspicious/noExplicitAny: options are checked against the method's own specs
export type AnyOptimizerMethod = OptimizerMethod<any>;

/** What `defineOptimizer` makes an `OptimizerMethod` from. */
export interface OptimizerDefinition<S extends OptionSpecs> {
  readonly name: string;
  readonly source: string;
  readonly summary: string;
  readonly learningRate: number;
  readonly options: S;
  /** The optimizer for checked options, all of them present. Throws `INVALID_OPTION` for options that do not fit together. */
  build(options: OptionValues<NoInfer<S>>): Optimizer;
}

/** Declares an optimizer; the types of its options follow from their specs. */
export function defineOptimizer<const S extends OptionSpecs>(definition: OptimizerDefinition<S>): OptimizerMethod<S> {
  const { name, source, summary, learningRate, options, build } = definition;
  const make = (given: Partial<OptionValues<S>> = {}) => build(parseOptions(options, given, name));
  // A function's own `name` cannot be assigned, only defined.
  Object.defineProperty(make, "name", { value: name });
  return Object.assign(make, { source, summary, learningRate, options }) as unknown as OptimizerMethod<S>;
}
