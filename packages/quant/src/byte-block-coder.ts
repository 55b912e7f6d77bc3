import type { CodedDType } from "@loomweight/kernels";
import { nonFiniteWeight } from "./options.ts";
import { addNoise, bytesOf, gatherPanels, kernelsFor, noiseResult } from "./panels.ts";

export interface ByteBlockCoderOptions {
  readonly rows: number;
  /** Elements of a row, which is cut into blocks. */
  readonly length: number;
  readonly blockSize: number;
  readonly symmetric: boolean;
  /** "away": DequantizeLinear's codes; "even": those of tables. */
  readonly rounding: "away" | "even";
  /** Codes, scales and zero points are stored transposed: [length, rows], [blocks, rows]. */
  readonly turned: boolean;
  readonly dtype: CodedDType;
  readonly float16Scales?: boolean;
  readonly name: string;
  readonly measured: boolean;
}

/** Rows that are coded in 4-bit blocks while they arrive. */
export interface ByteBlockCoder {
  /** The next bytes of the rows, cut anywhere. Throws `NON_FINITE_WEIGHT`. */
  add(bytes: Uint8Array): void;
  finish(): {
    /** A code in each byte: int8 −8..7, or 0..15 with zero points. */
    readonly codes: Uint8Array<ArrayBuffer>;
    readonly scales: Float32Array<ArrayBuffer>;
    readonly zeroPoints?: Uint8Array<ArrayBuffer>;
    readonly sqnr: number;
    readonly largestError: number;
  };
}

/** Bytes of weights that are coded at a time, about. */
const panelBytes = 2 ** 19;
/** Fewest rows of a panel that is turned: the length of the stretches in which it is written. */
const fewestRows = 64;

/** Starts coding; only what comes of it and a panel of rows are in memory. */
export function createByteBlockCoder(options: ByteBlockCoderOptions): ByteBlockCoder {
  const { rows, length, blockSize, symmetric, rounding, turned, dtype, float16Scales, name, measured } = options;
  const size = bytesOf(dtype);
  const blocks = Math.ceil(length / blockSize);
  const least = turned ? fewestRows : 1;
  const count = Math.max(1, Math.min(rows, Math.max(least, Math.floor(panelBytes / (length * size)))));
  const kernels = kernelsFor(count * (length * (size + 2) + 5 * blocks) + 4096);
  const codes = new Uint8Array(rows * length);
  const scales = new Float32Array(rows * blocks);
  const zeroPoints = symmetric ? undefined : new Uint8Array(rows * blocks);
  const total = new Float64Array(3);
  const panels = gatherPanels(kernels, { rowBytes: length * size, count }, (source, panelRows, first) => {
    const coded = kernels.allocateUnset(panelRows * length);
    const scaleBytes = kernels.allocateUnset(4 * panelRows * blocks);
    const panelScales = new Float32Array(scaleBytes.buffer, scaleBytes.byteOffset, panelRows * blocks);
    const panelZeros = symmetric ? undefined : kernels.allocateUnset(panelRows * blocks);
    const sums = measured ? kernels.allocateValues(3) : undefined;
    const out = { codes: coded, scales: panelScales, zeroPoints: panelZeros };
    const coding = { blockSize, rounding, float16Scales };
    const bad = kernels.quantizeBlockBytes(out, dtype, source, [panelRows, length], coding, sums);
    if (bad >= 0) throw nonFiniteWeight(name, `in ${turned ? "column" : "row"} ${first + bad}`);
    if (sums) addNoise(total, sums);
    if (!turned) {
      codes.set(coded, first * length);
      scales.set(panelScales, first * blocks);
      if (panelZeros) zeroPoints?.set(panelZeros, first * blocks);
      return;
    }
    const turn = kernels.allocateUnset(panelRows * length);
    kernels.transposeBytes(turn, coded, [panelRows, length]);
    for (let k = 0; k < length; k++) codes.set(turn.subarray(k * panelRows, (k + 1) * panelRows), k * rows + first);
    for (let row = 0; row < panelRows; row++) {
      for (let block = 0; block < blocks; block++) {
        const [from, to] = [row * blocks + block, block * rows + first + row];
        scales[to] = panelScales[from];
        if (zeroPoints && panelZeros) zeroPoints[to] = panelZeros[from];
      }
    }
  });
  return {
    add: panels.add,
    finish() {
      panels.finish();
      return { codes, scales, ...(zeroPoints && { zeroPoints }), ...noiseResult(total) };
    },
  };
}
