import { boolean } from "@loomweight/tensor";
import { defineMergeMethod } from "../define.ts";
import { elementwise, type LazyTensor, weightedSum } from "../lazy/lazy-tensor.ts";
import { gram, streamRows } from "../lazy/reduce.ts";
import { taskVector } from "../task-vector.ts";

/**
 * Model Stock: between the base and the mean of N fine-tunes, by the angle between them. c = mean cosine of the pairs
 * of task vectors, s = N c / (1 + (N−1) c): out = s · mean(modelᵢ) + (1−s) · base; one s per tensor, or per row of
 * [rows, columns] with `filterWise`. float64, rounded once.
 * Source: Jang et al. 2024, arXiv:2403.19522.
 * Differs: products of norms are taken as 1e-6 at least, as in mergekit; s is not clamped.
 */
export const modelStock = defineMergeMethod({
  name: "model-stock",
  source: "arXiv:2403.19522",
  summary: "Interpolates between base and mean of the models by the angle between their task vectors.",
  formula: ({ base, models, options }) =>
    `s · mean(${models.map(({ name }) => name).join(", ")}) + (1 − s) · ${base}, s = ${models.length} c / (1 + ${models.length - 1} c), c = mean cosine of the task vectors${options.filterWise ? ", per row" : ""}`,
  needs: { base: "required", models: { min: 2 } },
  inputOptions: {},
  options: { filterWise: boolean(false, "one interpolation per row instead of per tensor") },
  unequalShapes: "common",
  async merge({ base, models }, { filterWise }) {
    const taskVectors = models.map(({ tensor }) => taskVector(tensor, base));
    if (base.size === 0) return base;
    if (filterWise)
      return perRow(
        base,
        models.map(({ tensor }) => tensor),
        taskVectors,
      );
    const s = ratio(await gram(taskVectors));
    const share = s / models.length;
    return weightedSum([...models.map(({ tensor }) => ({ tensor, weight: share })), { tensor: base, weight: 1 - s }]);
  },
});

/** s of a Gram matrix of task vectors. */
function ratio(products: readonly (readonly number[])[]): number {
  const count = products.length;
  let total = 0;
  for (let i = 0; i < count; i++) {
    for (let j = i + 1; j < count; j++) {
      const norms = Math.sqrt(products[i][i]) * Math.sqrt(products[j][j]);
      total += Math.max(-1, Math.min(1, products[i][j] / Math.max(norms, 1e-6)));
    }
  }
  const cosine = total / ((count * (count - 1)) / 2);
  return (count * cosine) / (1 + (count - 1) * cosine);
}

async function perRow(
  base: LazyTensor,
  models: readonly LazyTensor[],
  taskVectors: readonly LazyTensor[],
): Promise<LazyTensor> {
  const { kernels } = base.engine;
  const rowLength = base.shape[base.shape.length - 1] ?? 1;
  const count = models.length;
  const rows = base.size / rowLength;
  const products = Array.from({ length: count }, () => Array.from({ length: count }, () => new Float64Array(rows)));
  await streamRows(taskVectors, rowLength, (pieces, row) => {
    for (let i = 0; i < count; i++) {
      for (let j = i; j < count; j++) products[i][j][row] += kernels.dot(pieces[i], pieces[j]);
    }
  });
  const shares = Float64Array.from({ length: rows }, (_, row) =>
    ratio(products.map((line) => line.map((column) => column[row]))),
  );
  const mean = weightedSum(models.map((tensor) => ({ tensor, weight: 1 / count })));
  return elementwise([mean, base], (_, out, [average, start], first) => {
    for (let i = 0; i < out.length; i++) {
      const s = shares[Math.floor((first + i) / rowLength)];
      out[i] = s * average[i] + (1 - s) * start[i];
    }
  });
}
