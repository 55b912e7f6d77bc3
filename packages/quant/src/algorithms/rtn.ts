import type { Tensor } from "@loomweight/tensor";
import type { BlockQuantized } from "../blocks.ts";
import { type BlockOptions, checkBlockOptions } from "../options.ts";
import { clamp, roundHalfToEven } from "../rounding.ts";
import { createBlockResult } from "./block-result.ts";
import { eachBlock } from "./each-block.ts";

/**
 * Round to nearest of a weight [K, N] in blocks along K, as the tools for language models have it: symmetric
 * s = 2 max|w| / (2^bits − 1) around 2^(bits−1); asymmetric s = (max − min) / (2^bits − 1), z = round(−min / s) within the
 * codes. Halves go to even; float64 on float32 ranges. `quantizeBlocks` is onnxruntime's own rule, which keeps the
 * largest weight exactly and 0 in the range: a block of weights far from 0 is lost here and not there.
 *
 * @param options bits (4), blockSize (32), symmetric (true)
 * @throws `INVALID_OPTION`, `UNSUPPORTED_DTYPE`, `SHAPE_MISMATCH`, `NON_FINITE_WEIGHT` naming `name`
 * Source: onnxruntime's weight-only tools, "RTN" (1.30).
 */
export function quantizeRtn(weight: Tensor, options: BlockOptions = {}, name = "weight"): BlockQuantized {
  const settings = checkBlockOptions(options, "quantizeRtn");
  const { bits, blockSize, symmetric } = settings;
  const top = 2 ** bits - 1;
  const result = createBlockResult(weight, settings);
  eachBlock(weight, blockSize, name, (index, values, count) => {
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const value of values) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const range = symmetric ? Math.fround(2 * Math.max(-low, high)) : Math.fround(high - low);
    const scale = range > 0 ? range / top : 1;
    const zero = symmetric ? 2 ** (bits - 1) : clamp(roundHalfToEven(-low / scale), 0, top);
    result.scales[index] = scale;
    result.zeroPoints[index] = zero;
    for (let i = 0; i < count; i++) {
      result.codes[index * blockSize + i] = clamp(roundHalfToEven(values[i] / scale + zero), 0, top);
    }
  });
  return result.finish();
}
