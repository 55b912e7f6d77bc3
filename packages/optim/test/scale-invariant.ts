import type { Optimizer } from "@loomweight/graph/training";
import { tensor, toFloat64 } from "@loomweight/tensor";
import { stepOnTensors, type Tensors } from "./run.ts";

const size = 20;
const curvature = Array.from({ length: size }, (_, i) => 100 ** (i / (size - 1)));
const unit = (values: readonly number[]) => values.map((value) => value / Math.hypot(...values));
const target = unit(Array.from({ length: size }, (_, i) => Math.cos(3 * i + 1)));

/**
 * 300 steps on f(w) = ½ Σ aᵢ (wᵢ / |w| − tᵢ)², whose gradients are all orthogonal to w, from |w| = 1: loss and norm at the
 * end.
 */
export function runScaleInvariant(optimizer: Optimizer, learningRate: number): { loss: number; norm: number } {
  const start = unit(Array.from({ length: size }, (_, i) => Math.sin(5 * i + 2)));
  const parameters = { w: tensor(start, [1, size], "float64") };
  let at: { parameters: Tensors; state: Tensors } = { parameters, state: { ...optimizer.init(parameters) } };
  for (let step = 1; step <= 300; step++) {
    const w = tensor(gradientOf([...toFloat64(at.parameters.w)]), [1, size], "float64");
    at = stepOnTensors(optimizer, at, { w }, { step, learningRate });
  }
  const w = [...toFloat64(at.parameters.w)];
  const loss = unit(w).reduce((sum, n, i) => sum + (curvature[i] * (n - target[i]) ** 2) / 2, 0);
  return { loss, norm: Math.hypot(...w) };
}

function gradientOf(w: readonly number[]): number[] {
  const n = unit(w);
  const slope = n.map((value, i) => curvature[i] * (value - target[i]));
  const radial = n.reduce((sum, value, i) => sum + value * slope[i], 0);
  return slope.map((value, i) => (value - n[i] * radial) / Math.hypot(...w));
}
