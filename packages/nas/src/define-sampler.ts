import type { Value } from "@loomweight/graph";
import { type OptionSpecs, type OptionValues, parseOptions, type Random } from "@loomweight/tensor";

/** Where a search stands. */
export interface Progress {
  /** Counts from 0. */
  readonly epoch: number;
  readonly epochs: number;
}

/** What one decision is fed for one forward pass. */
export interface Draw {
  /** One number for every choice, by the names in `inputs`. */
  readonly inputs: Readonly<Record<string, readonly number[]>>;
  /** The choice taken, where one is computed alone. */
  readonly index?: number;
}

/**
 * How the parameters alpha [#choices] of a decision become probabilities at every forward pass. Noise is drawn outside
 * of the graph and fed, so that seeds are all it depends on.
 */
export interface Sampler {
  readonly name: string;
  /** One choice is taken at a time: probabilities are exactly one-hot, and only the chosen network is computed. */
  readonly hard: boolean;
  /** Whether alpha is learned. */
  readonly trains: boolean;
  /** Names of what `draw` feeds. */
  readonly inputs: readonly string[];
  /** Called before every forward pass, for every decision, where there are `inputs`. */
  draw(alpha: readonly number[], random: Random, progress: Progress): Draw;
  /** p [#choices] ≥ 0, summing to 1, from alpha [#choices] and what was drawn; its gradient reaches alpha. */
  probabilities(alpha: Value, inputs: Readonly<Record<string, Value>>): Value;
  /** The mean of `probabilities` over draws: what a search reports, and whose largest entry it chooses. */
  mean(alpha: readonly number[]): number[];
}

/** A sampler as a function of its options: `gdas({ tauMax: 5 })`. Throws `UNKNOWN_OPTION` and `INVALID_OPTION`. */
export interface SamplerMethod<S extends OptionSpecs = OptionSpecs> {
  (options?: Partial<OptionValues<S>>): Sampler;
  /** The published name in kebab case, as file and page have it. */
  readonly name: string;
  readonly source: string;
  /** What it does, in one sentence: the row of the table. */
  readonly summary: string;
  readonly options: S;
}

/** Declares a sampler; the types of its options follow from their specs. */
export function defineSampler<const S extends OptionSpecs>(definition: {
  readonly name: string;
  readonly source: string;
  readonly summary: string;
  readonly options: S;
  build(options: OptionValues<NoInfer<S>>): Omit<Sampler, "name">;
}): SamplerMethod<S> {
  const { name, source, summary, options, build } = definition;
  const make = (given: Partial<OptionValues<S>> = {}): Sampler => ({
    name,
    ...build(parseOptions(options, given, name)),
  });
  // A function's own `name` cannot be assigned, only defined.
  Object.defineProperty(make, "name", { value: name });
  return Object.assign(make, { source, summary, options }) as unknown as SamplerMethod<S>;
}
