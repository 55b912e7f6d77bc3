import type { Tensor } from "@loomweight/tensor";
import type { BlockQuantized } from "../blocks.ts";
import { type BlockOptions, checkBlockOptions } from "../options.ts";
import { clamp, roundHalfToEven } from "../rounding.ts";
import { createBlockResult } from "./block-result.ts";
import { eachBlock } from "./each-block.ts";
import { pairwiseSum } from "./pairwise-sum.ts";

const { fround } = Math;
/** Ranges tried: 2^bits − 1 steps, one less to one more of them, in tenths. */
const attempts = 20;

/**
 * k-quant of a weight [K, N] in blocks along K: scale and minimum of each block are those that lose least, where a
 * weight counts by its magnitude above the block's root mean square. Twenty ranges are tried; each gives codes, and codes
 * give the best scale and minimum by least squares. Always with zero points. float32, sums in numpy's order.
 *
 * @param options bits (4), blockSize (32)
 * @throws `INVALID_OPTION`, `UNSUPPORTED_DTYPE`, `SHAPE_MISMATCH`, `NON_FINITE_WEIGHT` naming `name`
 * Source: onnxruntime's weight-only tools, "k_quant" (1.30), after llama.cpp's k-quants. As there, a better minimum
 * moves the range of later tries.
 */
export function quantizeKQuant(
  weight: Tensor,
  options: Omit<BlockOptions, "symmetric"> = {},
  name = "weight",
): BlockQuantized {
  const settings = { ...checkBlockOptions(options, "quantizeKQuant"), symmetric: false };
  const { bits, blockSize } = settings;
  const top = 2 ** bits - 1;
  const result = createBlockResult(weight, settings);
  const products = new Float32Array(blockSize);
  const importance = new Float32Array(blockSize);
  const codes = new Float32Array(blockSize);
  const weighted = new Float32Array(blockSize);
  const sumOf = (of: (i: number) => number) => {
    for (let i = 0; i < blockSize; i++) products[i] = of(i);
    return pairwiseSum(products);
  };
  eachBlock(weight, blockSize, name, (index, x, count) => {
    const rootMeanSquare = fround(Math.sqrt(fround(sumOf((i) => x[i] * x[i]) / blockSize)));
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (let i = 0; i < blockSize; i++) {
      importance[i] = rootMeanSquare + Math.abs(x[i]);
      low = Math.min(low, x[i]);
      high = Math.max(high, x[i]);
    }
    const sumW = pairwiseSum(importance);
    const sumX = sumOf((i) => importance[i] * x[i]);
    const stepsOver = (steps: number) => (low === high ? 1 : fround(steps / fround(high - low)));
    const codeBy = (inverse: number) => {
      for (let i = 0; i < blockSize; i++) {
        codes[i] = clamp(roundHalfToEven(fround(inverse * fround(x[i] - low))), 0, top);
      }
    };
    const lossOf = (scale: number, minimum: number) =>
      sumOf((i) => {
        const difference = fround(fround(fround(scale * codes[i]) + minimum) - x[i]);
        return importance[i] * fround(difference * difference);
      });
    const first = stepsOver(top);
    codeBy(first);
    let scale = fround(1 / first);
    let best = lossOf(scale, low);
    for (let attempt = 0; attempt < attempts; attempt++) {
      codeBy(stepsOver(fround(-1 + 0.1 * attempt + top)));
      for (let i = 0; i < blockSize; i++) weighted[i] = importance[i] * codes[i];
      const sumL = pairwiseSum(weighted);
      const sumL2 = sumOf((i) => weighted[i] * codes[i]);
      const sumXL = sumOf((i) => weighted[i] * x[i]);
      const determinant = fround(fround(sumW * sumL2) - fround(sumL * sumL));
      const ownScale = fround(fround(fround(sumW * sumXL) - fround(sumX * sumL)) / determinant);
      const minimum = fround(fround(fround(sumL2 * sumX) - fround(sumL * sumXL)) / determinant);
      const loss = lossOf(ownScale, minimum);
      if (!(loss < best)) continue; // NaN where all codes are equal
      best = loss;
      scale = ownScale;
      low = minimum;
    }
    const zero = clamp(roundHalfToEven(fround(-low / scale)), 0, top);
    result.scales[index] = scale;
    result.zeroPoints[index] = zero;
    for (let i = 0; i < count; i++) {
      result.codes[index * blockSize + i] = clamp(roundHalfToEven(x[i] / scale + zero), 0, top);
    }
  });
  return result.finish();
}
