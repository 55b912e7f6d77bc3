import { exponential, logarithm } from "@loomweight/kernels";
import { defineMergeMethod } from "../define.ts";
import { elementwise, type LazyTensor } from "../lazy/lazy-tensor.ts";
import { streamRows } from "../lazy/reduce.ts";
import { selectLargest } from "../lazy/select.ts";

/**
 * Arcee Fusion: take the model's entries that matter much more than usual, the base's elsewhere. Rows along the last
 * axis; p, q = softmax of the model's and the base's row, each + 1e-8; K = Σ p log(p/q) of the row; importance
 * I = |model − base| · K; taken where I ≥ Q50 + 1.5 (Q75 − Q25) of all I. float64, rounded once.
 * Source: mergekit. Differs: quantiles are exact at every size; mergekit samples above a million entries.
 */
export const arceeFusion = defineMergeMethod({
  name: "arcee-fusion",
  source: "mergekit",
  summary: "Takes the model's entries of outstanding importance, the base's elsewhere.",
  formula: ({ base, models: [{ name }] }) =>
    `${base} + (${name} − ${base}) where importance ≥ Q50 + 1.5 (Q75 − Q25), importance = |${name} − ${base}| · KL(softmax ${name}, softmax ${base}) per row`,
  needs: { base: "required", models: { min: 1, max: 1 } },
  inputOptions: {},
  options: {},
  unequalShapes: "common",
  async merge({ base, models: [{ tensor: model }] }) {
    if (base.size === 0) return base;
    const rowLength = base.shape[base.shape.length - 1] ?? 1;
    const divergence = await rowDivergence(model, base, rowLength);
    const importance = elementwise([model, base], (_, out, [x, b], start) => {
      for (let i = 0; i < out.length; i++) {
        out[i] = Math.abs(x[i] - b[i]) * divergence[Math.floor((start + i) / rowLength)];
      }
    });
    const lower = await quantile(importance, 0.25);
    const middle = await quantile(importance, 0.5);
    const upper = await quantile(importance, 0.75);
    const threshold = middle + 1.5 * (upper - lower);
    return elementwise([importance, model, base], (_, out, [score, x, b]) => {
      // Written so that a NaN is taken and shows in the result.
      for (let i = 0; i < out.length; i++) out[i] = score[i] < threshold ? b[i] : x[i];
    });
  },
});

/** Σ p log(p/q) per row, p and q the softmax of the rows of `model` and `base`, each + 1e-8. Three passes. */
async function rowDivergence(model: LazyTensor, base: LazyTensor, rowLength: number): Promise<Float64Array> {
  const rows = base.size / rowLength;
  const largest = [0, 1].map(() => new Float64Array(rows).fill(Number.NEGATIVE_INFINITY));
  await streamRows([model, base], rowLength, (pieces, row) => {
    pieces.forEach((piece, which) => {
      for (let i = 0; i < piece.length; i++) if (piece[i] > largest[which][row]) largest[which][row] = piece[i];
    });
  });
  const sums = [0, 1].map(() => new Float64Array(rows));
  await streamRows([model, base], rowLength, (pieces, row) => {
    pieces.forEach((piece, which) => {
      for (let i = 0; i < piece.length; i++) sums[which][row] += exponential(piece[i] - largest[which][row]);
    });
  });
  const divergence = new Float64Array(rows);
  await streamRows([model, base], rowLength, ([x, b], row) => {
    for (let i = 0; i < x.length; i++) {
      const p = exponential(x[i] - largest[0][row]) / sums[0][row] + 1e-8;
      const q = exponential(b[i] - largest[1][row]) / sums[1][row] + 1e-8;
      divergence[row] += p * logarithm(p / q);
    }
  });
  return divergence;
}

/** Element ⌊share · (n−1)⌋ of the sorted values, which are all of one sign or 0. */
async function quantile(values: LazyTensor, share: number): Promise<number> {
  const index = Math.floor(share * (values.size - 1));
  return index === 0 ? smallest(values) : (await selectLargest(values, values.size - index)).threshold;
}

async function smallest(values: LazyTensor): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  await streamRows([values], values.size, ([piece]) => {
    for (let i = 0; i < piece.length; i++) if (piece[i] < least) least = piece[i];
  });
  return least;
}
