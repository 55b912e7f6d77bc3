import type { CodedDType } from "@loomweight/kernels";
import { allocate, fromData } from "@loomweight/tensor";
import { type Bnb4Quantized, type Bnb4Type, bnb4Levels } from "./bnb4-levels.ts";
import { nonFiniteWeight } from "./options.ts";
import { addNoise, bytesOf, gatherPanels, kernelFloats, kernelsFor, noiseResult } from "./panels.ts";

export interface Bnb4CoderOptions {
  readonly K: number;
  readonly N: number;
  readonly quantType: Bnb4Type;
  readonly blockSize: number;
  /** dtype of the codes that are added. */
  readonly dtype: CodedDType;
  readonly name: string;
  readonly measured: boolean;
}

/** A weight [K, N] that is coded while its columns arrive. */
export interface Bnb4Coder {
  /** The next bytes of the columns, cut anywhere. Throws `NON_FINITE_WEIGHT`. */
  add(bytes: Uint8Array): void;
  finish(): { readonly quantized: Bnb4Quantized; readonly sqnr: number; readonly largestError: number };
}

/** Weights that are coded at a time: whole blocks of every size. */
const panelLength = 2 ** 17;

/** Starts coding; only the codes and a panel are in memory. See `quantizeBnb4`. */
export function createBnb4Coder(options: Bnb4CoderOptions): Bnb4Coder {
  const { K, N, quantType, blockSize, dtype, name, measured } = options;
  const size = bytesOf(dtype);
  const packed = allocate("uint8", Math.ceil((K * N) / 2));
  const absmax = allocate("float32", Math.ceil((K * N) / blockSize));
  const { bounds, order, levels } = risingLevels(quantType);
  const kernels = kernelsFor(panelLength * (size + 1) + 4 * (panelLength / blockSize) + 4096);
  const total = new Float64Array(3);
  const cut = { rowBytes: blockSize * size, count: panelLength / blockSize };
  const panels = gatherPanels(kernels, cut, (codes, _blocks, first) => {
    const count = codes.length / size;
    const names = kernels.allocateUnset(16);
    names.set(order);
    const table = {
      blockSize,
      bounds: kernelFloats(kernels, bounds),
      order: names,
      levels: kernelFloats(kernels, levels),
    };
    const largest = kernelFloats(kernels, new Float32Array(Math.ceil(count / blockSize)));
    const out = { packed: kernels.allocateUnset(Math.ceil(count / 2)), largest };
    const sums = measured ? kernels.allocateValues(3) : undefined;
    const bad = kernels.quantizeLevels(out, dtype, codes, count, table, sums);
    if (bad >= 0) throw nonFiniteWeight(name, `in column ${Math.floor(((first + bad) * blockSize) / K)} of [K, N]`);
    packed.set(out.packed, (first * blockSize) / 2);
    absmax.set(largest, first);
    if (sums) addNoise(total, sums);
  });
  return {
    add: panels.add,
    finish() {
      panels.finish();
      const quantized: Bnb4Quantized = {
        quantType,
        blockSize,
        K,
        N,
        packed: fromData("uint8", packed, [packed.length]),
        absmax: fromData("float32", absmax, [absmax.length]),
      };
      return { quantized, ...noiseResult(total) };
    },
  };
}

/** Levels in rising order with their codes: `bounds[i]` lies halfway between level i and level i + 1. */
function risingLevels(quantType: Bnb4Type): { bounds: Float32Array; order: Uint8Array; levels: Float32Array } {
  const sorted = bnb4Levels[quantType].map((value, code) => ({ value, code }));
  // code 8 of fp4 is −0: it comes before code 0 and takes what rounds to zero from below
  sorted.sort((a, b) => a.value - b.value || b.code - a.code);
  const bounds = Float32Array.from({ length: 15 }, (_, i) => (sorted[i].value + sorted[i + 1].value) / 2);
  if (quantType === "fp4") bounds[7] = -(2 ** -149); // between −0 and 0: zero itself has code 0
  return {
    bounds,
    order: Uint8Array.from(sorted, ({ code }) => code),
    levels: Float32Array.from(sorted, ({ value }) => value),
  };
}
