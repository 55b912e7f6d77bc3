import { cholesky, solveTriangular } from "@loomweight/linalg";
import { fromFloat64, nonNegative, shapeMismatch, type Tensor, toFloat64 } from "@loomweight/tensor";
import type { BlockQuantized } from "../blocks.ts";
import { type BlockOptions, checkBlockOptions, checkWeight, nonFiniteWeight } from "../options.ts";
import { clamp, roundHalfToEven } from "../rounding.ts";
import { visitColumns } from "../weight-columns.ts";
import { createBlockResult } from "./block-result.ts";

export interface GptqOptions extends BlockOptions {
  /** Share of the mean diagonal that is added to it; default 0.01. More where few samples were seen. */
  readonly dampening?: number;
  /** Rows in the order of falling importance, with the scales of each block fixed beforehand; default false. */
  readonly actOrder?: boolean;
}

/** Codes as they are found, in float64. */
export interface GptqCodes {
  /** [K, N]. */
  readonly codes: Uint8Array;
  /** [blocks, N]. */
  readonly scales: Float64Array;
  readonly zeroPoints: Float64Array;
  /** Order in which the rows were coded. */
  readonly order: readonly number[];
  /** Σ e² / 2 of the errors that were spread: what falls. */
  readonly loss: number;
}

/**
 * GPTQ of a weight [K, N] in blocks along K: rows are coded one after another, and the error of each is spread over
 * those still to come so that the layer's output on the calibration inputs changes least. `hessian` [K, K] is
 * 2 / n Σ x xᵀ of the layer's inputs (`createHessianSum`). Scales as `quantizeBlocks` chooses them (the signed peak, or
 * the range with 0), refitted to the changed weights when a block is reached. Inputs that are always 0 give weights of 0.
 *
 * float64, K² (K / 3 + N) operations and K² numbers of memory beside the weight.
 * @param options bits (4), blockSize (32), symmetric (true), dampening (0.01), actOrder (false)
 * @throws `INVALID_OPTION`, `UNSUPPORTED_DTYPE`, `SHAPE_MISMATCH`, `NON_FINITE_WEIGHT` naming `name`,
 * `NOT_POSITIVE_DEFINITE` (raise `dampening`)
 * Source: Frantar et al. 2022, arXiv:2210.17323.
 */
export function quantizeGptq(
  weight: Tensor,
  hessian: Tensor,
  options: GptqOptions = {},
  name = "weight",
): BlockQuantized {
  const settings = checkBlockOptions(options, "quantizeGptq");
  const { blockSize } = settings;
  // Scales are stored in float32: coding against the stored ones loses nothing to their rounding.
  const found = gptqCodes(weight, hessian, { ...options, ...settings, round: Math.fround }, name);
  const [K, N] = weight.shape;
  const result = createBlockResult(weight, settings);
  const { blocks } = result;
  for (let n = 0; n < N; n++) {
    for (let block = 0; block < blocks; block++) {
      result.scales[n * blocks + block] = found.scales[block * N + n];
      result.zeroPoints[n * blocks + block] = found.zeroPoints[block * N + n];
    }
    for (let k = 0; k < K; k++) result.codes[n * blocks * blockSize + k] = found.codes[k * N + n];
  }
  return result.finish();
}

/** What `quantizeGptq` packs; any number of bits and any block size. */
export function gptqCodes(
  weight: Tensor,
  hessian: Tensor,
  options: {
    readonly bits: number;
    readonly blockSize: number;
    readonly symmetric: boolean;
    readonly dampening?: number;
    readonly actOrder?: boolean;
    /** How scales are stored; default as they are. */
    readonly round?: (scale: number) => number;
  },
  name = "weight",
): GptqCodes {
  checkWeight(weight, name, 2);
  const { bits, blockSize, symmetric, actOrder = false, round = (scale) => scale } = options;
  const dampening = nonNegative(0.01, "").check(options.dampening ?? 0.01, { option: "quantizeGptq.dampening" });
  const [K, N] = weight.shape;
  if (hessian.shape.length !== 2 || hessian.shape[0] !== K || hessian.shape[1] !== K) {
    throw shapeMismatch({
      where: "quantizeGptq",
      tensor: name,
      expected: { from: "the weight", shape: [K, K] },
      got: { from: "the hessian", shape: hessian.shape },
    });
  }
  const top = 2 ** bits - 1;
  const blocks = Math.ceil(K / blockSize);
  const second = toFloat64(hessian);
  const dead = Array.from({ length: K }, (_, k) => second[k * K + k] === 0);
  for (let k = 0; k < K; k++) if (dead[k]) second[k * K + k] = 1;
  const order = Array.from({ length: K }, (_, k) => k);
  if (actOrder) order.sort((a, b) => second[b * K + b] - second[a * K + a] || a - b);
  const upper = inverseFactor(second, order, dampening);

  const [codes, scales, zeroPoints] = [
    new Uint8Array(K * N),
    new Float64Array(blocks * N),
    new Float64Array(blocks * N),
  ];
  const fit = (values: (i: number) => number, count: number, at: number): void => {
    const [scale, zero] = blockScale(values, count, { bits, symmetric });
    scales[at] = round(scale);
    zeroPoints[at] = zero;
  };
  let loss = 0;
  // Columns do not depend on each other: a few at a time stay in the cache while all rows go by.
  visitColumns(weight, (first, columns, values) => {
    for (let from = 0; from < columns; from += panelColumns) {
      const width = Math.min(panelColumns, columns - from);
      const panel = new Float64Array(K * width);
      for (let c = 0; c < width; c++) {
        for (let k = 0; k < K; k++) {
          const value = values[(from + c) * K + order[k]];
          if (!Number.isFinite(value)) throw nonFiniteWeight(name, `in column ${first + from + c} of [K, N]`);
          panel[k * width + c] = dead[order[k]] ? 0 : value;
        }
      }
      loss += codePanel(panel, width, first + from);
    }
  });
  return { codes, scales, zeroPoints, order, loss };

  /** Codes the columns from `start` on; their spread errors. */
  function codePanel(panel: Float64Array, width: number, start: number): number {
    let lost = 0;
    if (actOrder) {
      const place = new Int32Array(K);
      for (const [position, k] of order.entries()) place[k] = position;
      for (let block = 0; block < blocks; block++) {
        const count = Math.min(blockSize, K - block * blockSize);
        for (let c = 0; c < width; c++) {
          fit((i) => panel[place[block * blockSize + i] * width + c], count, block * N + start + c);
        }
      }
    }
    const errors = new Float64Array(width);
    for (let k = 0; k < K; k++) {
      const row = order[k];
      const block = Math.floor(row / blockSize);
      if (!actOrder && row % blockSize === 0) {
        const count = Math.min(blockSize, K - row);
        for (let c = 0; c < width; c++) fit((i) => panel[(k + i) * width + c], count, block * N + start + c);
      }
      const pivot = upper[k * K + k];
      for (let c = 0; c < width; c++) {
        const at = block * N + start + c;
        const value = panel[k * width + c];
        const code = clamp(roundHalfToEven(value / scales[at] + zeroPoints[at]), 0, top);
        codes[row * N + start + c] = code;
        errors[c] = (value - scales[at] * (code - zeroPoints[at])) / pivot;
        lost += errors[c] ** 2 / 2;
      }
      for (let later = k + 1; later < K; later++) {
        const factor = upper[k * K + later];
        const at = later * width;
        for (let c = 0; c < width; c++) panel[at + c] -= factor * errors[c];
      }
    }
    return lost;
  }
}

/** Columns that are coded together: K of them as float64 fit a core's cache for K of some thousands. */
const panelColumns = 32;

/**
 * Upper U with UᵀU the inverse of the dampened hessian in the given order. With M Mᵀ the matrix from its last row to its
 * first, U is the inverse of M turned back: one factorization, and no inverse of the whole.
 */
function inverseFactor(hessian: Float64Array, order: readonly number[], dampening: number): Float64Array {
  const K = order.length;
  let trace = 0;
  for (let k = 0; k < K; k++) trace += hessian[k * K + k];
  const turned = new Float64Array(K * K);
  const at = (i: number) => order[K - 1 - i];
  for (let i = 0; i < K; i++) for (let j = 0; j < K; j++) turned[i * K + j] = hessian[at(i) * K + at(j)];
  for (let i = 0; i < K; i++) turned[i * K + i] += (dampening * trace) / K;
  const identity = new Float64Array(K * K);
  for (let i = 0; i < K; i++) identity[i * K + i] = 1;
  const lower = solveTriangular(cholesky(fromFloat64(turned, [K, K])), fromFloat64(identity, [K, K]));
  return toFloat64(lower).reverse();
}

/** Scale and zero point of one block of one column; 0 is always within the range. A block of zeros has scale 1. */
function blockScale(
  values: (i: number) => number,
  count: number,
  { bits, symmetric }: { bits: number; symmetric: boolean },
): readonly [number, number] {
  let [low, high] = [values(0), values(0)];
  for (let i = 1; i < count; i++) {
    low = Math.min(low, values(i));
    high = Math.max(high, values(i));
  }
  const half = 2 ** (bits - 1);
  if (symmetric) return [(Math.abs(high) > Math.abs(low) ? high : low) / -half || 1, half];
  const top = 2 * half - 1;
  [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  const scale = (high - low) / top || 1;
  return [scale, clamp(roundHalfToEven(-low / scale), 0, top)];
}
