import { createRandom } from "@loomweight/kernels";
import { LoomweightError } from "@loomweight/tensor";
import { elementwise, type LazyTensor, scale } from "./lazy/lazy-tensor.ts";
import { sumsAbs } from "./lazy/reduce.ts";
import { type MagnitudeCut, nextUp, selectLargest } from "./lazy/select.ts";

/**
 * Keeps the ⌊density · n⌋ entries of largest magnitude, the others become 0; ties go to the lower flat index.
 * Density 1 keeps the tensor as it is. Throws `EMPTY_SELECTION` when not one entry would be kept.
 */
export async function keepLargest(tensor: LazyTensor, density: number, name?: string): Promise<LazyTensor> {
  if (density >= 1 || tensor.size === 0) return tensor;
  const keep = Math.floor(density * tensor.size);
  if (keep === 0) throw emptySelection(tensor, density, name);
  return keepWithin(tensor, await selectLargest(tensor, keep));
}

/** Keeps what `cut` keeps. */
export function keepWithin(tensor: LazyTensor, cut: MagnitudeCut): LazyTensor {
  const strictlyAbove = nextUp(cut.threshold);
  return elementwise([tensor], (kernels, out, [values], start) => {
    const inclusive = Math.max(0, Math.min(values.length, cut.lastIndex + 1 - start));
    if (inclusive === values.length) kernels.keepAbove(out, values, cut.threshold);
    else if (inclusive === 0) kernels.keepAbove(out, values, strictlyAbove);
    else {
      kernels.keepAbove(out.subarray(0, inclusive), values.subarray(0, inclusive), cut.threshold);
      kernels.keepAbove(out.subarray(inclusive), values.subarray(inclusive), strictlyAbove);
    }
  });
}

/**
 * Drops outliers and noise: of the magnitudes in descending order the first ⌊gamma · n⌋ are dropped, the next
 * ⌊density · n⌋ kept, the rest dropped. Where density and gamma leave too little room, fewer are dropped at the top.
 * Davari & Belilovsky 2023, arXiv:2312.06795.
 */
export async function keepMiddle(tensor: LazyTensor, density: number, gamma: number): Promise<LazyTensor> {
  if (density >= 1 || tensor.size === 0) return tensor;
  const keep = Math.floor(density * tensor.size);
  const top = Math.max(0, Math.min(Math.floor(gamma * tensor.size), tensor.size - keep));
  if (keep === 0) return scale(tensor, 0);
  const kept = keepWithin(tensor, await selectLargest(tensor, keep + top));
  if (top === 0) return kept;
  const outliers = keepWithin(tensor, await selectLargest(tensor, top));
  return elementwise([kept, outliers], (kernels, out, [all, largest]) => kernels.subtract(out, all, largest));
}

/** What a random mask is keyed by: the same mask on every platform, for any tiles. */
export interface MaskKey {
  readonly seed: number;
  readonly tensor: string;
  /** Position of the model, so that models are thinned out independently. */
  readonly model: number;
}

/** Keeps each entry with probability `density`, the others become 0. Yu et al. 2023, arXiv:2311.03099. */
export function keepRandom(tensor: LazyTensor, density: number, { seed, tensor: name, model }: MaskKey): LazyTensor {
  if (density >= 1) return tensor;
  const { key } = createRandom(seed, `mask/${name}/${model}`);
  return elementwise(
    [tensor],
    (kernels, out, [values], start, [mask]) => {
      kernels.bernoulliMask(mask, key, start, density);
      kernels.multiply(out, values, mask);
    },
    1,
  );
}

/**
 * Makes up for what was dropped: `sparse` times Σ|dense| / Σ|sparse|, so that the L1 norm is kept; unchanged where
 * either sum is below 1e-7.
 */
export async function rescaleToL1(sparse: LazyTensor, dense: LazyTensor): Promise<LazyTensor> {
  if (sparse === dense) return sparse;
  const [before, after] = await sumsAbs([dense, sparse]);
  return before < 1e-7 || after < 1e-7 ? sparse : scale(sparse, before / after);
}

function emptySelection(tensor: LazyTensor, density: number, name: string | undefined): LoomweightError {
  return new LoomweightError({
    code: "EMPTY_SELECTION",
    problem: `density ${density} keeps none of the ${tensor.size} entries`,
    tensor: name,
    option: "density",
    expected: `at least ${1 / tensor.size}`,
    fix: "Raise the density, or give this tensor its own with a filter.",
  });
}
