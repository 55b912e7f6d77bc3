import type { Tensor } from "@loomweight/tensor";
import { visitColumns } from "./weight-columns.ts";

/** What quantizing one weight did to it. */
export interface TensorReport {
  /** The weight's name in the graph it came from. */
  readonly name: string;
  readonly shape: readonly number[];
  /** What it became: "q4 block 32", "int8 per channel", "nf4 block 64". */
  readonly form: string;
  /** Signal to quantization noise, 10 · log10(Σ w² / Σ (w − dequantized)²), in decibels; Infinity = exact. */
  readonly sqnr: number;
  /** Largest |w − dequantized|. */
  readonly largestError: number;
  /** Bytes of the weight, and of all tensors that take its place. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
}

/** Called when a weight has been quantized, which is when its data is read; measuring costs one more pass over it. */
export type OnTensor = (report: TensorReport) => void;

/** Compares a weight [K, N] with its dequantized columns, sums in float64. */
export function measureColumns(
  weight: Tensor,
  dequantize: (out: Float32Array, first: number, count: number) => void,
): { sqnr: number; largestError: number } {
  const [K] = weight.shape;
  const noise = errorSum();
  const chunk = Math.max(1, Math.floor(65536 / K));
  const out = new Float32Array(chunk * K);
  visitColumns(weight, (first, count, values) => {
    for (let from = 0; from < count; from += chunk) {
      const columns = Math.min(chunk, count - from);
      dequantize(out, first + from, columns);
      noise.add(values.subarray(from * K, (from + columns) * K), out);
    }
  });
  return noise.result();
}

/** Compares two arrays of values, sums in float64. */
export function measureValues(
  weight: ArrayLike<number>,
  dequantized: ArrayLike<number>,
): { sqnr: number; largestError: number } {
  const noise = errorSum();
  noise.add(weight, dequantized);
  return noise.result();
}

/** Sums of what was lost, over one part of the values after another. */
export function errorSum(): {
  add(weight: ArrayLike<number>, dequantized: ArrayLike<number>): void;
  result(): { sqnr: number; largestError: number };
} {
  let signal = 0;
  let noise = 0;
  let largestError = 0;
  return {
    add(weight, dequantized) {
      for (let i = 0; i < weight.length; i++) {
        const error = weight[i] - dequantized[i];
        signal += weight[i] * weight[i];
        noise += error * error;
        const size = Math.abs(error);
        if (size > largestError) largestError = size;
      }
    },
    result: () => ({ sqnr: noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise), largestError }),
  };
}
