import { createRandom } from "@loomweight/kernels";
import { LoomweightError } from "@loomweight/tensor";
import { elementwise, type LazyTensor, scale, subtract } from "./lazy/lazy-tensor.ts";
import { sumAbs } from "./lazy/reduce.ts";
import { nextUp, selectLargest } from "./lazy/select.ts";
import { type BlockConsumer, streamTiles } from "./lazy/stream.ts";
import type { MagnitudeCut } from "./magnitude-cut.ts";

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
  if (top === 0) return keepWithin(tensor, await selectLargest(tensor, keep));
  const [lower, upper] = await Promise.all([keep + top, top].map((count) => selectLargest(tensor, count)));
  return subtract(keepWithin(tensor, lower), keepWithin(tensor, upper));
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
  const { size, engine } = tensor;
  // The mask of the first pass is noted for the ones after it, unless the tensor is huge.
  const noted = engine.hold(Math.ceil(size / 8));
  let known = 0;
  return elementwise(
    [tensor],
    (kernels, out, [values], start, [scratch]) => {
      const end = start + values.length;
      const bits = bitsIn(scratch, values.length);
      if (end <= known && start % 8 === 0) bits.set((noted as Uint8Array).subarray(start / 8, start / 8 + bits.length));
      else {
        kernels.bernoulliBits(bits, values.length, key, start, density);
        if (noted !== undefined && start === known && (end % 8 === 0 || end === size)) {
          noted.set(bits, start / 8);
          known = end;
        }
      }
      kernels.keepBits(out, values, bits, 0);
    },
    1,
  );
}

/** Keeps the entries whose bit is 1, the others become 0; entry i has bit i mod 8 of byte ⌊i / 8⌋. */
export function keepNoted(tensor: LazyTensor, kept: Uint8Array): LazyTensor {
  return elementwise(
    [tensor],
    (kernels, out, [values], start, [scratch]) => {
      const bits = bitsIn(scratch, (start % 8) + values.length);
      const first = Math.floor(start / 8);
      bits.set(kept.subarray(first, first + bits.length));
      kernels.keepBits(out, values, bits, start % 8);
    },
    1,
  );
}

/** Which entries of a tensor are not 0, one bit each; undefined where the tensor is too large to note them. */
export async function nonZeroBits(tensor: LazyTensor): Promise<Uint8Array | undefined> {
  const { engine, size } = tensor;
  const noted = engine.hold(Math.ceil(size / 8));
  if (noted === undefined || engine.blockSize % 8 !== 0) return undefined;
  let block = new Uint8Array(0);
  const consume: BlockConsumer = ([values], start) => {
    const bits = block.subarray(0, Math.ceil(values.length / 8));
    engine.kernels.nonZeroBits(bits, values);
    noted.set(bits, start / 8);
  };
  const prepare = () => {
    block = engine.kernels.allocate(engine.blockSize / 8);
  };
  await streamTiles([tensor], consume, { prepare });
  return noted;
}

/** The first `count` bits of a working array. */
function bitsIn(scratch: Float64Array, count: number): Uint8Array {
  return new Uint8Array(scratch.buffer, scratch.byteOffset, Math.ceil(count / 8));
}

/**
 * Makes up for what was dropped: `sparse` times Σ|dense| / Σ|sparse|, so that the L1 norm is kept; unchanged where
 * either sum is below 1e-7.
 */
export async function rescaleToL1(sparse: LazyTensor, dense: LazyTensor): Promise<LazyTensor> {
  if (sparse === dense) return sparse;
  const [before, after] = await Promise.all([sumAbs(dense), sumAbs(sparse)]);
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
