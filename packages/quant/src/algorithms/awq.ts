import { fromFloat64, shapeMismatch, type Tensor, toFloat64 } from "@loomweight/tensor";
import { type BlockQuantized, quantizeBlocks } from "../blocks.ts";
import { dequantizeBlocks } from "../dequantize.ts";
import { type BlockOptions, checkBlockOptions, checkWeight, invalid } from "../options.ts";

export interface AwqOptions extends BlockOptions {
  /** Exponents tried, from 0 on in equal steps below 1; default 20. */
  readonly grid?: number;
}

/** A weight whose rows were scaled before coding: x W = (x · inputScales) Ŵ. */
export interface AwqQuantized {
  readonly quantized: BlockQuantized;
  /** float32 [K]: what the layer's inputs are multiplied with, 1 / s. */
  readonly inputScales: Tensor<"float32">;
  /** The exponent that lost least. */
  readonly exponent: number;
}

/**
 * Activation-aware scaling of a weight [K, N]: row k is multiplied by s_k = a_k^α before it is coded and the layer's
 * input by 1 / s_k, so that rows with large inputs keep more of their codes; a_k is the root mean square of input k, α
 * the one of `grid` exponents that loses least, Σ a_k² (Ŵ_kn / s_k − W_kn)². α = 0 is `quantizeBlocks` itself, so the
 * result is never worse by that measure.
 *
 * @param hessian [K, K], 2 / n Σ x xᵀ of the layer's inputs, of which the diagonal is used
 * @param options bits (4), blockSize (32), symmetric (true), grid (20)
 * @throws `INVALID_OPTION`, `UNSUPPORTED_DTYPE`, `SHAPE_MISMATCH`, `NON_FINITE_WEIGHT` naming `name`
 * Source: Lin et al. 2023, arXiv:2306.00978.
 * Differs: magnitudes are root mean squares, not means of magnitudes; errors are weighed by the diagonal of the second
 * moments instead of run through the layer; weights are not clipped.
 */
export function quantizeAwq(weight: Tensor, hessian: Tensor, options: AwqOptions = {}, name = "weight"): AwqQuantized {
  const { grid = 20, ...given } = options;
  const settings = checkBlockOptions(given, "quantizeAwq");
  if (!Number.isSafeInteger(grid) || grid < 1) throw invalid("quantizeAwq.grid", grid, "a whole number of at least 1");
  checkWeight(weight, name, 2);
  const [K, N] = weight.shape;
  if (hessian.shape.length !== 2 || hessian.shape.some((size) => size !== K)) {
    throw shapeMismatch({
      where: "quantizeAwq",
      tensor: name,
      expected: { from: "the weight", shape: [K, K] },
      got: { from: "the hessian", shape: hessian.shape },
    });
  }
  const second = toFloat64(hessian);
  const squares = Float64Array.from({ length: K }, (_, k) => second[k * K + k] / 2);
  const values = toFloat64(weight);
  let best: (AwqQuantized & { readonly loss: number }) | undefined;
  for (let step = 0; step < grid; step++) {
    const exponent = step / grid;
    const scales = rowScales(squares, exponent);
    const scaled = values.map((value, i) => value * scales[Math.floor(i / N)]);
    const quantized = quantizeBlocks(fromFloat64(scaled, [K, N], "float32"), settings, name);
    const decoded = toFloat64(dequantizeBlocks(quantized));
    let loss = 0;
    for (let k = 0; k < K; k++) {
      let row = 0;
      for (let n = 0; n < N; n++) row += (decoded[k * N + n] / scales[k] - values[k * N + n]) ** 2;
      loss += squares[k] * row;
    }
    if (best !== undefined && loss >= best.loss) continue;
    const inputScales = fromFloat64(
      scales.map((scale) => 1 / scale),
      [K],
      "float32",
    );
    best = { quantized, inputScales, exponent, loss };
  }
  const { quantized, inputScales, exponent } = best as AwqQuantized;
  return { quantized, inputScales, exponent };
}

/** a^exponent, brought to a middle of 1: √(largest · smallest). Inputs that are always 0 count as the smallest. */
function rowScales(squares: Float64Array, exponent: number): Float64Array {
  const smallest = squares.reduce(
    (least, each) => (each > 0 ? Math.min(least, each) : least),
    Number.POSITIVE_INFINITY,
  );
  const powers = squares.map((each) => (Number.isFinite(smallest) ? Math.max(each, smallest) ** (exponent / 2) : 1));
  const [low, high] = [
    powers.reduce((least, each) => Math.min(least, each)),
    powers.reduce((most, each) => Math.max(most, each)),
  ];
  const middle = Math.sqrt(low * high);
  // float32 scales: weights and inputs are multiplied with exactly inverse numbers up to their rounding
  return powers.map((power) => Math.fround(power / middle));
}
