import { boolean, unitInterval } from "@loomweight/tensor";
import { defineMergeMethod } from "../define.ts";
import { numberText } from "../formula.ts";
import { elementwise, type LazyTensor } from "../lazy/lazy-tensor.ts";
import { gram } from "../lazy/reduce.ts";
import { selectLargest } from "../lazy/select.ts";
import { streamTiles } from "../lazy/stream.ts";
import { keepNoted, keepWithin, nonZeroBits } from "../sparsify.ts";
import { taskVector } from "../task-vector.ts";

/**
 * SCE: select the entries that models disagree on most, weigh models by how much they changed, elect signs.
 * τᵢ = modelᵢ − base; kept are the ⌊selectTopk · n⌋ entries of largest variance over the models (n: those that vary);
 * pᵢ = mean(τᵢ²) over their sum; out = base + Σ agreeing pᵢ τᵢ / Σ agreeing pᵢ, the sign of Σ τᵢ elected per entry.
 * float64, rounded once.
 * Source: Wan et al. 2024 (FuseChat), arXiv:2408.07990.
 * Differs from mergekit: where no entry is selected the result is the base; there a tensor of a wrong shape.
 */
export const sce = defineMergeMethod({
  name: "sce",
  source: "arXiv:2408.07990",
  summary: "Selects entries by variance over the models, weighs models by their change, elects signs.",
  formula: ({ base, models, options }) =>
    `${base} + mean, by share of the squared change, of the entries with the elected sign { ${models.map(({ name }) => `${name} − ${base}`).join(", ")} }${Number(options.selectTopk) < 1 ? `[largest variance ${numberText(options.selectTopk)}]` : ""}`,
  needs: { base: "required", models: { min: 1 } },
  inputOptions: {},
  options: {
    selectTopk: unitInterval(1, "share of the varying entries that is kept"),
    int8Mask: boolean(false, "accepted for mergekit's recipes, without effect"),
  },
  unequalShapes: "refuse",
  async merge({ base, models }, { selectTopk }) {
    const dense = models.map(({ tensor }) => taskVector(tensor, base));
    const kept = selectTopk < 1 ? await selectVarying(dense, selectTopk) : dense;
    if (kept === undefined || base.size === 0) return base;
    const products = await gram(kept);
    const sizes = products.map((row, i) => row[i] / base.size);
    const total = sizes.reduce((sum, size) => sum + size, 0);
    // Changes this small say nothing about how much a model has to say.
    const shares = sizes.map((size) => (total < 1e-6 ? 1 / sizes.length : size / total));
    return elementwise([base, ...kept], (kernels, out, [start, ...changes]) =>
      kernels.electedMean(out, start, changes, shares, 1e-6),
    );
  },
});

/** The task vectors at the entries of largest variance; undefined where none is selected. */
async function selectVarying(taskVectors: readonly LazyTensor[], share: number): Promise<LazyTensor[] | undefined> {
  const spread = elementwise(taskVectors, (kernels, out, inputs) => kernels.variance(out, inputs));
  let varying = 0;
  await streamTiles([spread], ([values]) => {
    varying += spread.engine.kernels.countNonZero(values);
  });
  const keep = Math.floor(varying * share);
  if (keep === 0) return undefined;
  const selected = keepWithin(spread, await selectLargest(spread, keep));
  const bits = await nonZeroBits(selected);
  return taskVectors.map((tensor) =>
    bits === undefined
      ? elementwise([tensor, selected], (kernels, out, [change, where]) => kernels.keepWhere(out, change, where))
      : keepNoted(tensor, bits),
  );
}
