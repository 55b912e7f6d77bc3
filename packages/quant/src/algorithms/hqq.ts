import { positive, type Tensor } from "@loomweight/tensor";
import type { BlockQuantized } from "../blocks.ts";
import { type BlockOptions, checkBlockOptions } from "../options.ts";
import { clamp, roundHalfToEven } from "../rounding.ts";
import { createBlockResult } from "./block-result.ts";
import { eachBlock } from "./each-block.ts";

export interface HqqOptions extends Omit<BlockOptions, "symmetric"> {
  /** Exponent of the norm whose error falls; below 1 it forgives outliers. Default 0.7. */
  readonly lpNorm?: number;
  /** Weight of the quadratic term at first; default 10, raised by `kappa` a step. */
  readonly beta?: number;
  /** Default 1.01. */
  readonly kappa?: number;
  /** Most steps; they end where the mean error of the weight no longer falls. Default 20. */
  readonly iterations?: number;
}

const { fround } = Math;

/**
 * Half-quadratic quantization of a weight [K, N] in blocks along K: scales from the range, zero points (fractions, kept
 * as float32) moved so that |w − ŵ|^p is small for p = 0.7, by alternating a shrinkage of the errors with the mean. No
 * data is needed. float32; onnxruntime's CPU kernel runs fractional zero points with 2 and 4 bits, not with 8.
 *
 * @param options bits (4), blockSize (32), lpNorm (0.7), beta (10), kappa (1.01), iterations (20)
 * @throws `INVALID_OPTION`, `UNSUPPORTED_DTYPE`, `SHAPE_MISMATCH`, `NON_FINITE_WEIGHT` naming `name`
 * Source: Badri, Shaji 2023, Half-Quadratic Quantization of Large Machine Learning Models; onnxruntime's form (1.30).
 */
export function quantizeHqq(weight: Tensor, options: HqqOptions = {}, name = "weight"): BlockQuantized {
  const settings = { ...checkBlockOptions(options, "quantizeHqq"), symmetric: false };
  const { bits, blockSize } = settings;
  const place = (option: string) => ({ option: `quantizeHqq.${option}` });
  const lpNorm = positive(0.7, "").check(options.lpNorm ?? 0.7, place("lpNorm"));
  const kappa = positive(1.01, "").check(options.kappa ?? 1.01, place("kappa"));
  const iterations = positive(20, "").check(options.iterations ?? 20, place("iterations"));
  let beta = positive(10, "").check(options.beta ?? 10, place("beta"));
  const top = 2 ** bits - 1;
  const result = createBlockResult(weight, settings, true);
  const { blocks, codes, scales, zeroPoints } = result;
  const [K, N] = weight.shape;
  const all = new Float32Array(N * blocks * blockSize);
  /** 1 / scale. */
  const inverses = new Float32Array(N * blocks);
  eachBlock(weight, blockSize, name, (index, values) => {
    all.set(values, index * blockSize);
    let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
    for (const value of values) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const range = fround(high - low);
    // a number over a tensor is, in PyTorch, the number times the reciprocal
    inverses[index] = Math.min(fround(fround(1 / (range === 0 ? top : range)) * top), 2e4);
    zeroPoints[index] = roundHalfToEven(fround(-low * inverses[index]));
  });
  const codeOf = (at: number, index: number) =>
    clamp(roundHalfToEven(fround(fround(all[at] * inverses[index]) + zeroPoints[index])), 0, top);
  const shrunk = (x: number) => {
    const size = Math.abs(x);
    const rest = fround(size - fround(fround(1 / beta) * fround(fround(size + 1e-8) ** (lpNorm - 1))));
    return rest > 0 ? Math.sign(x) * rest : 0;
  };
  let best = 1e4;
  for (let iteration = 0; iteration < iterations; iteration++) {
    let error = 0;
    for (let index = 0; index < inverses.length; index++) {
      const [inverse, zero] = [inverses[index], zeroPoints[index]];
      let sum = 0;
      for (let at = index * blockSize; at < (index + 1) * blockSize; at++) {
        const code = codeOf(at, index);
        const difference = fround(all[at] - fround(fround(code - zero) / inverse));
        error += Math.abs(difference);
        sum += fround(code - fround(fround(all[at] - shrunk(difference)) * inverse));
      }
      zeroPoints[index] = sum / blockSize;
    }
    beta *= kappa;
    const mean = fround(error / all.length);
    if (mean >= best) break;
    best = mean;
  }
  for (let index = 0; index < inverses.length; index++) {
    scales[index] = 1 / inverses[index];
    const count = Math.min(blockSize, K - (index % blocks) * blockSize);
    for (let i = 0; i < count; i++) codes[index * blockSize + i] = codeOf(index * blockSize + i, index);
  }
  return result.finish();
}
