import type { Runtime, Value } from "@loomweight/graph";
import type { Batch, Optimizer, RandomInputs } from "@loomweight/graph/training";
import type { Tensor } from "@loomweight/tensor";
import type { Sampler } from "../define-sampler.ts";
import type { Probabilities } from "../entangle/probabilities.ts";
import type { MixtureOptions } from "../network/mixture.ts";
import type { Network } from "../network/network.ts";
import type { Space } from "../space/space.ts";

/** Batches of a search: a list or iterable that is begun again when it ends, or a function that gives them from a position on. */
export type SearchBatches = readonly Batch[] | ((position: number) => Iterable<Batch> | AsyncIterable<Batch>);

/** The number that falls, of one batch: a mean over it. Built once per shape of batch (and per network where one is computed). */
export type NetworkLoss = (
  network: Network,
  batch: Readonly<Record<string, Value>>,
  context: { readonly random: RandomInputs },
) => Value;

/** What holds a search to a size: added to the architecture's loss is weight · max(0, size / target − 1). */
export interface Cost {
  readonly target: number;
  readonly weight: number;
  /** Expected size from probabilities, a scalar; default `expectedSize`: the number of parameters. */
  readonly of?: (space: Space, probabilities: Probabilities) => Value;
}

/** What an architecture is searched for. */
export interface SearchTask extends MixtureOptions {
  readonly runtime: Runtime;
  readonly space: Space;
  /** First weights of the largest network, float32; names that the space does not have are weights of every network. */
  readonly weights: Readonly<Record<string, Tensor>>;
  readonly loss: NetworkLoss;
  readonly sampler: Sampler;
  /** Two disjoint parts of the training data. */
  readonly batches: { readonly architecture: SearchBatches; readonly weights: SearchBatches };
  /** Default: Adam with beta1 0.5, beta2 0.999 and weight decay 1e-3. */
  readonly architectureOptimizer?: Optimizer;
  /** Default: SGD with Nesterov's momentum 0.9 and weight decay 3e-4. */
  readonly weightOptimizer?: Optimizer;
  /** Of the weights: a number, or a schedule of the steps done before. Default 0.025, the rate of the default optimizer. */
  readonly learningRate?: number | ((step: number) => number);
  readonly cost?: Cost;
  /** What `snapshot` gave: the search goes on at the next step. */
  readonly resume?: SearchSnapshot;
  readonly signal?: AbortSignal;
}

/** Everything that the next step depends on: plain tensors and a number. */
export interface SearchSnapshot {
  readonly step: number;
  readonly tensors: Readonly<Record<string, Tensor>>;
}
