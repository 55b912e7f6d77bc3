import type { OnnxModel } from "@loomweight/graph";
import { gemm, layerNormalization } from "@loomweight/graph";
import { createRandom, fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { batchNormed, classifierModel } from "./networks.ts";

const [classes, width] = [6, 24];

/** Gaussian classes whose features are scaled and shifted in the target: samples, labels, and models that know the source. */
export interface DriftingClasses {
  readonly labels: readonly number[];
  /** Samples by their numbers, float32 [N, width]. */
  batch(rows: readonly number[]): Tensor;
  /** Normalization (γ 1, β 0) and the best linear scores of the source; `noise` spoils the scores. */
  model(norm: "batch" | "layer", noise?: number): OnnxModel;
}

export function driftingClasses(seed: number, count: number): DriftingClasses {
  const random = createRandom(seed, "drifting");
  const draw = (name: string, size: number, deviation: number) => {
    const values = new Float64Array(size);
    random.child(name).normalsInto(values, { deviation });
    return values;
  };
  const means = draw("means", classes * width, 0.7);
  const [scale, shift] = [draw("scale", width, 0.4).map(Math.exp), draw("shift", width, 1.6)];
  const noise = draw("noise", count * width, 1);
  const labels = Array.from({ length: count }, (_, i) => i % classes);
  const points = noise.map(
    (e, i) => (means[labels[Math.floor(i / width)] * width + (i % width)] + e) * scale[i % width] + shift[i % width],
  );
  // Statistics of the source: classes are equally frequent, noise has variance 1.
  const mean = new Float64Array(width);
  const variance = new Float64Array(width).fill(1);
  for (const [i, each] of means.entries()) mean[i % width] += each / classes;
  for (const [i, each] of means.entries()) variance[i % width] += (each - mean[i % width]) ** 2 / classes;
  return {
    labels,
    batch: (rows) =>
      fromFloat64(
        Float64Array.from(rows.flatMap((row) => [...points.subarray(row * width, (row + 1) * width)])),
        [rows.length, width],
        "float32",
      ),
    model(norm, spoilt = 0) {
      const off = draw(`spoilt ${spoilt}`, classes * width, spoilt);
      const deviation = variance.map(Math.sqrt);
      const head = means.map((each, i) => (each - mean[i % width]) * deviation[i % width] * (1 + off[i]));
      const bias = Float64Array.from({ length: classes }, (_, c) => {
        let square = 0;
        for (let d = 0; d < width; d++) square += (means[c * width + d] - mean[d]) ** 2;
        return -square / 2;
      });
      const tensors = {
        "norm.weight": new Float64Array(width).fill(1),
        "norm.bias": new Float64Array(width),
        "norm.running_mean": mean,
        "norm.running_var": variance,
        "head.bias": bias,
      };
      const weights = Object.fromEntries(
        Object.entries(tensors).map(([name, values]) => [name, fromFloat64(values, [values.length], "float32")]),
      );
      weights["head.weight"] = fromFloat64(head, [classes, width], "float32");
      return classifierModel(weights, width, (x, weight) => {
        const normed =
          norm === "batch"
            ? batchNormed(x, "norm", weight)
            : layerNormalization(x, weight("norm.weight"), weight("norm.bias"));
        return gemm(normed, weight("head.weight"), weight("head.bias"), { transB: true });
      });
    },
  };
}

/** Share of rows, in per cent, whose largest score is not their label's. */
export function errorOf(scores: readonly Tensor[], labels: readonly number[]): number {
  let wrong = 0;
  let row = 0;
  for (const tensor of scores) {
    const [rows, columns] = tensor.shape;
    const values = toFloat64(tensor);
    for (let i = 0; i < rows; i++) {
      const own = values.subarray(i * columns, (i + 1) * columns);
      wrong += Number(own.indexOf(Math.max(...own)) !== labels[row++]);
    }
  }
  return (100 * wrong) / row;
}
