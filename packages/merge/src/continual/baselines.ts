import { fromFloat64, isFloat, type Tensor, toFloat64 } from "@loomweight/tensor";
import { type ModelTensors, taskVectorOf } from "./opcm.ts";

/**
 * Continual averaging: the mean of the models so far, θ ← (t θ + θ_t) / (t + 1), from the first model on. `count`: how
 * many `merged` is the mean of.
 */
export function continualAverage(merged: ModelTensors, model: ModelTensors, count: number): Map<string, Tensor> {
  return mapFloats(merged, (name, tensor) => {
    const next = toFloat64(model.get(name) as Tensor);
    return toFloat64(tensor).map((value, i) => (count * value + next[i]) / (count + 1));
  });
}

/** Continual task arithmetic: θ ← θ + scaling (θ_t − base), from the base on. */
export function continualTaskArithmetic(
  base: ModelTensors,
  merged: ModelTensors,
  model: ModelTensors,
  scaling = 0.3,
): Map<string, Tensor> {
  return mapFloats(merged, (name, tensor) => {
    const tau = toFloat64(taskVectorOf(name, base.get(name) as Tensor, model.get(name) as Tensor));
    return toFloat64(tensor).map((value, i) => value + scaling * tau[i]);
  });
}

function mapFloats(tensors: ModelTensors, change: (name: string, tensor: Tensor) => Float64Array): Map<string, Tensor> {
  return new Map(
    [...tensors].map(([name, tensor]) => [
      name,
      isFloat(tensor.dtype) ? fromFloat64(change(name, tensor), tensor.shape, tensor.dtype) : tensor,
    ]),
  );
}
