import type { Tensor } from "@loomweight/tensor";
import { type MetricWeightOptions, metricWeights } from "../metric-weights.ts";
import { type AdapterTensors, averageAdapters } from "./average-adapters.ts";

/** A checkpoint of a training run and what its run said of it. */
export interface MeasuredAdapter {
  readonly tensors: AdapterTensors | (() => Promise<AdapterTensors>);
  /** Value of the metric that weighs it. */
  readonly value: number;
}

/**
 * Metrics-weighted averaging: checkpoints of one PEFT run become one adapter, θ* = Σ w θ, w from a metric of each
 * (`metricWeights`). Every tensor is averaged, factors apart from one another: LoRA, IA3, prompts, magnitudes, heads
 * alike. float64, rounded once to the stored dtype; adapters given as functions are read one after the other.
 * Source: arXiv:2504.18580. Its abstract fixes what is averaged, by which metrics, and that one penalty factor shapes
 * the weights; the formula of the weights is this project's reconstruction.
 * Throws `INVALID_METRIC`, `INVALID_OPTION`, `ADAPTER_MISMATCH`.
 */
export async function metricsWeightedAverage(
  checkpoints: readonly MeasuredAdapter[],
  options: MetricWeightOptions = {},
): Promise<{ readonly tensors: Map<string, Tensor>; readonly weights: Float64Array }> {
  const weights = metricWeights(
    checkpoints.map(({ value }) => value),
    options,
  );
  const tensors = await averageAdapters(inTurn(checkpoints), weights);
  return { tensors, weights };
}

async function* inTurn(checkpoints: readonly MeasuredAdapter[]): AsyncGenerator<AdapterTensors> {
  for (const { tensors } of checkpoints) yield typeof tensors === "function" ? await tensors() : tensors;
}
