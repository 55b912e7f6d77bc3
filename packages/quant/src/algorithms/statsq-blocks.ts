import type { Tensor } from "@loomweight/tensor";
import type { BlockQuantized } from "../blocks.ts";
import { type BlockBits, type BlockOptions, checkBlockOptions, invalid } from "../options.ts";
import { clamp, roundHalfToEven } from "../rounding.ts";
import { createBlockResult } from "./block-result.ts";
import { eachBlock } from "./each-block.ts";

export interface StatsqBlockOptions extends Omit<BlockOptions, "bits" | "symmetric"> {
  /** Bits that the weight was trained with: 2, 3 or 4; 3 are stored in 4. Default 4. */
  readonly bits?: 2 | 3 | 4;
}

/**
 * A weight [K, N] that was trained on StatsQ's grid (`statsq`, the output axis N with a scale each), as MatMulNBits takes
 * it: w = (q − (n − ½)) · α / n with q = k + n. The zero points are fractions, which onnxruntime's CPU kernel runs. Not
 * for weights that were not trained so: a ninth of a Gaussian's would be clipped.
 *
 * @throws `INVALID_OPTION`, `UNSUPPORTED_DTYPE`, `SHAPE_MISMATCH`, `NON_FINITE_WEIGHT` naming `name`
 * Source: Liu et al. 2023, arXiv:2302.02210.
 */
export function statsqBlocks(weight: Tensor, options: StatsqBlockOptions = {}, name = "weight"): BlockQuantized {
  const { bits = 4 } = options;
  if (bits !== 2 && bits !== 3 && bits !== 4) throw invalid("statsqBlocks.bits", bits, "2, 3 or 4");
  const stored: BlockBits = bits === 2 ? 2 : 4;
  const settings = { ...checkBlockOptions({ ...options, bits: stored }, "statsqBlocks"), symmetric: false };
  const { blockSize } = settings;
  const n = 2 ** (bits - 1);
  const result = createBlockResult(weight, settings, true);
  const { blocks, codes, scales, zeroPoints } = result;
  const [K, N] = weight.shape;
  const alphas = new Float64Array(N);
  eachBlock(weight, blockSize, name, (index, values, count) => {
    const column = Math.floor(index / blocks);
    for (let i = 0; i < count; i++) alphas[column] += (2 / K) * Math.abs(values[i]);
  });
  zeroPoints.fill(n - 0.5);
  eachBlock(weight, blockSize, name, (index, values, count) => {
    const alpha = alphas[Math.floor(index / blocks)];
    scales[index] = alpha / n;
    for (let i = 0; i < count; i++) {
      const share = alpha === 0 ? 0 : clamp(values[i] / alpha, -1, 1 - 1e-6);
      codes[index * blockSize + i] = clamp(roundHalfToEven(share * n - 0.5), -n, n - 1) + n;
    }
  });
  return result.finish();
}
