import { arcCosine, cosSin } from "@loomweight/kernels";
import { integer, positive } from "@loomweight/tensor";
import { defineMergeMethod } from "../define.ts";
import { scale, weightedSum } from "../lazy/lazy-tensor.ts";
import { gram } from "../lazy/reduce.ts";

/**
 * Karcher mean: the direction whose arcs to all models' directions balance, at their mean length. Flattened tensors;
 * the mean is found by gradient steps on the sphere. All models count alike, a base among them. float64, rounded once.
 * Source: Karcher 1977; for language models arXiv:2603.04972.
 * Every vector met is a combination of the models' directions, so the steps run on their inner products: one pass.
 */
export const karcher = defineMergeMethod({
  name: "karcher",
  source: "arXiv:2603.04972",
  summary: "Mean direction of the models on the sphere, at their mean length.",
  formula: ({ models, options }) =>
    `mean on the sphere { ${models.map(({ name }) => name).join(", ")} } · mean norm, in at most ${options.maxIter} steps`,
  needs: { base: "ordinary", models: { min: 1 } },
  inputOptions: {},
  options: {
    maxIter: integer(10, "most steps", { min: 1, max: 10000 }),
    tol: positive(1e-5, "steps shorter than this end the search; so small a tensor has no direction"),
  },
  unequalShapes: "common",
  async merge({ models }, { maxIter, tol }) {
    const tensors = models.map(({ tensor }) => tensor);
    const products = await gram(tensors);
    const norms = products.map((row, i) => Math.sqrt(row[i]));
    const pointing = norms.map((_, i) => i).filter((i) => norms[i] > tol);
    if (pointing.length === 0) return scale(tensors[0], 0);
    const cosines = pointing.map((i) => pointing.map((j) => products[i][j] / (norms[i] * norms[j])));
    const mean = meanDirection(cosines, maxIter, tol);
    const length = norms.reduce((sum, norm) => sum + norm, 0) / norms.length;
    return weightedSum(pointing.map((i, at) => ({ tensor: tensors[i], weight: (mean[at] / norms[i]) * length })));
  },
});

/** Coefficients of the mean over unit vectors with these inner products. */
function meanDirection(cosines: readonly (readonly number[])[], maxIter: number, tol: number): number[] {
  const count = cosines.length;
  const product = (a: readonly number[], b: readonly number[]): number =>
    a.reduce((sum, x, i) => sum + x * b.reduce((inner, y, j) => inner + y * cosines[i][j], 0), 0);
  const norm = (a: readonly number[]) => Math.sqrt(Math.max(0, product(a, a)));
  const unit = (index: number) => Array.from({ length: count }, (_, i) => (i === index ? 1 : 0));
  let mean: number[] = new Array<number>(count).fill(1 / count);
  const first = norm(mean);
  mean = first < tol ? unit(0) : mean.map((x) => x / first);
  for (let step = 0; step < maxIter; step++) {
    const tangent = new Array<number>(count).fill(0);
    for (let i = 0; i < count; i++) {
      const cosine = Math.max(-1, Math.min(1, product(mean, unit(i))));
      const angle = arcCosine(cosine);
      if (angle < tol) continue;
      const factor = angle / cosSin(angle).sin / count;
      tangent[i] += factor;
      for (let j = 0; j < count; j++) tangent[j] -= factor * cosine * mean[j];
    }
    const length = norm(tangent);
    if (length < tol) break;
    const { cos, sin } = cosSin(length);
    mean = mean.map((x, j) => cos * x + (sin / length) * tangent[j]);
    const size = norm(mean);
    if (size > 0) mean = mean.map((x) => x / size);
  }
  return mean;
}
