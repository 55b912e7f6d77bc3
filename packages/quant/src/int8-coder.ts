import type { CodedDType } from "@loomweight/kernels";
import { allocate, elementCount, fromData } from "@loomweight/tensor";
import type { Int8Quantized, Int8Type } from "./int8.ts";
import { codeRange, scaleAndZero } from "./int8-scale.ts";
import { nonFiniteWeight } from "./options.ts";
import { addNoise, bytesOf, gatherPanels, kernelFloats, kernelsFor, noiseResult, type Panels } from "./panels.ts";

export interface Int8CoderOptions {
  readonly shape: readonly number[];
  /** dtype of the codes that are added. */
  readonly dtype: CodedDType;
  /** The order in which they come: row-major, or the columns of a matrix one after another. */
  readonly order: "elements" | "columns";
  /** A scale for each column; of a matrix that comes in columns only. */
  readonly perColumn: boolean;
  readonly type: Int8Type;
  readonly symmetric: boolean;
  readonly reduceRange: boolean;
  readonly name: string;
  readonly measured: boolean;
}

/** A tensor that is coded in 8 bits while its elements arrive, twice where one scale stands for all of them. */
export interface Int8Coder {
  /** Whether all bytes go through `see` before they go through `code`. */
  readonly sees: boolean;
  /** The next bytes, to find the range; the order of elements does not matter. */
  see(bytes: Uint8Array): void;
  /** The next bytes, cut anywhere. Throws `NON_FINITE_WEIGHT`, as `see` does. */
  code(bytes: Uint8Array): void;
  finish(): { readonly quantized: Int8Quantized; readonly sqnr: number; readonly largestError: number };
}

/** Bytes of weights that are coded at a time, about. */
const panelBytes = 2 ** 19;
/** Fewest columns of a panel: what is turned is written in stretches as long as this. */
const fewestColumns = 64;

/** Starts coding; only the codes and a panel are in memory. See `quantizeInt8` for the arithmetic. */
export function createInt8Coder(options: Int8CoderOptions): Int8Coder {
  const { shape, dtype, order, perColumn, type, symmetric, reduceRange, name, measured } = options;
  const size = bytesOf(dtype);
  const turned = order === "columns";
  // Elements that come row-major are one long row of rows of one element.
  const [length, rows] = turned ? shape : [1, elementCount(shape)];
  const least = turned ? fewestColumns : 1;
  const count = Math.max(1, Math.min(rows, Math.max(least, Math.floor(panelBytes / (length * size)))));
  const kernels = kernelsFor(count * length * (size + 2) + 16 * count + 4096);
  const channels = perColumn ? rows : 1;
  const scale = allocate("float32", channels);
  const zeroPoint = allocate(type, channels);
  const data = allocate(type, rows * length);
  const out = new Uint8Array(data.buffer, data.byteOffset, data.length);
  const range = new Float32Array(2);
  const total = new Float64Array(3);
  const signed = type === "int8";

  const widen = (ranges: Float32Array, codes: Uint8Array, rowsOf: number, where: (row: number) => string): void => {
    const bad = kernels.rangeRows(ranges, dtype, codes, [rowsOf, codes.length / size / rowsOf]);
    if (bad >= 0) throw nonFiniteWeight(name, where(bad));
  };
  const settle = (channel: number, low: number, high: number): void => {
    const found = scaleAndZero(low, high, codeRange(type, symmetric, reduceRange), symmetric);
    scale[channel] = found.scale;
    zeroPoint[channel] = found.zeroPoint;
  };
  const seePanel = (codes: Uint8Array): void => {
    const ranges = kernelFloats(kernels, range);
    widen(ranges, codes, 1, () => "somewhere");
    range.set(ranges);
  };
  const codePanel = (codes: Uint8Array, panelRows: number, first: number): void => {
    if (perColumn) {
      const ranges = kernelFloats(kernels, new Float32Array(2 * panelRows));
      widen(ranges, codes, panelRows, (row) => `in column ${first + row} of [K, N]`);
      for (let i = 0; i < panelRows; i++) settle(first + i, ranges[2 * i], ranges[2 * i + 1]);
    }
    const from = perColumn ? first : 0;
    const to = perColumn ? first + panelRows : 1;
    const scales = kernelFloats(kernels, scale.subarray(from, to));
    const zeroPoints = kernelFloats(kernels, zeroPoint.subarray(from, to));
    const coded = kernels.allocateUnset(panelRows * length);
    const sums = measured ? kernels.allocateValues(3) : undefined;
    const panelShape = turned ? ([panelRows, length] as const) : ([1, panelRows] as const);
    kernels.quantizeInt8(coded, dtype, codes, panelShape, { signed, scales, zeroPoints }, sums);
    if (sums) addNoise(total, sums);
    if (!turned) {
      out.set(coded, first);
      return;
    }
    const turn = kernels.allocateUnset(panelRows * length);
    kernels.transposeBytes(turn, coded, [panelRows, length]);
    for (let k = 0; k < length; k++) out.set(turn.subarray(k * panelRows, (k + 1) * panelRows), k * rows + first);
  };

  const seen = gatherPanels(kernels, { rowBytes: size, count: Math.max(1, Math.floor(panelBytes / size)) }, seePanel);
  let coding: Panels | undefined;
  return {
    sees: !perColumn,
    see: seen.add,
    code(bytes) {
      if (coding === undefined) {
        seen.finish();
        if (!perColumn) settle(0, range[0], range[1]);
        coding = gatherPanels(kernels, { rowBytes: length * size, count }, codePanel);
      }
      coding.add(bytes);
    },
    finish() {
      coding?.finish();
      const scaleShape = perColumn ? [channels] : [];
      const quantized: Int8Quantized = {
        data: fromData(type, data, shape),
        scale: fromData("float32", scale, scaleShape),
        zeroPoint: fromData(type, zeroPoint, scaleShape),
      };
      return { quantized, ...noiseResult(total) };
    },
  };
}
