import type { Tensor } from "@loomweight/tensor";

/** 4-bit number formats of MatMulBnb4. */
export type Bnb4Type = "nf4" | "fp4";

/** A weight [K, N] in 4-bit floats, one largest magnitude a block: value = level[code] · absmax. */
export interface Bnb4Quantized {
  readonly quantType: Bnb4Type;
  readonly blockSize: number;
  readonly K: number;
  readonly N: number;
  /** uint8 [⌈N · K / 2⌉]: the transposed weight flattened, the FIRST of two codes in the high bits. */
  readonly packed: Tensor<"uint8">;
  /** float32 [⌈N · K / blockSize⌉]: blocks run on across columns. */
  readonly absmax: Tensor<"float32">;
}

/**
 * Value of each code 0..15, within [−1, 1].
 * Source: Dettmers et al. 2023, arXiv:2305.14314, appendix E (nf4), and bitsandbytes' fp4 table.
 */
export const bnb4Levels: Readonly<Record<Bnb4Type, readonly number[]>> = {
  nf4: [
    -1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1,
  ],
  fp4: [
    0, 0.005208333333, 0.66666667, 1, 0.33333333, 0.5, 0.16666667, 0.25, -0, -0.005208333333, -0.66666667, -1,
    -0.33333333, -0.5, -0.16666667, -0.25,
  ],
};
