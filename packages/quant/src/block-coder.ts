import type { CodedDType } from "@loomweight/kernels";
import { allocate, cast, fromData } from "@loomweight/tensor";
import type { BlockQuantized } from "./blocks.ts";
import { type BlockBits, nonFiniteWeight } from "./options.ts";
import { packedLength, packInto } from "./packing.ts";
import { addNoise, bytesOf, gatherPanels, kernelsFor, noiseResult } from "./panels.ts";

export interface BlockCoderOptions {
  readonly K: number;
  readonly N: number;
  readonly bits: BlockBits;
  /** A multiple of 16, at most 256. */
  readonly blockSize: number;
  readonly symmetric: boolean;
  /** dtype of the codes that are added. */
  readonly dtype: CodedDType;
  /** dtype of the scales. */
  readonly scales: "float32" | "float16";
  /** Of the weight, for messages. */
  readonly name: string;
  /** Also measure; costs about a third more. Default false. */
  readonly measured?: boolean;
}

/** A weight [K, N] that is coded while its columns arrive. */
export interface BlockCoder {
  /** The next bytes of the columns, cut anywhere. Throws `NON_FINITE_WEIGHT`. */
  add(bytes: Uint8Array): void;
  /** When all have been added. */
  finish(): {
    readonly quantized: BlockQuantized;
    /** Infinite and 0 unless `measured`. */
    readonly sqnr: number;
    readonly largestError: number;
  };
}

/** Bytes of the columns that are coded at a time, about. */
const panelBytes = 2 ** 18;

/** Longest column in bytes that coders take. */
export const longestColumn = 2 ** 24;

/** Starts coding; only the codes, the scales and a panel of columns are in memory. */
export function createBlockCoder(options: BlockCoderOptions): BlockCoder {
  const { K, N, bits, blockSize, symmetric, dtype, name, measured = false } = options;
  const columnBytes = K * bytesOf(dtype);
  const blocks = Math.ceil(K / blockSize);
  const blob = packedLength(blockSize, bits);
  // A column, its codes, scales and zero points.
  const workBytes = columnBytes + blocks * (blob + 5);
  const columns = Math.max(1, Math.min(N, Math.floor(panelBytes / workBytes)));
  const packed = allocate("uint8", N * blocks * blob);
  const scales = allocate("float32", N * blocks);
  const zeroBytes = packedLength(blocks, bits);
  const zeroPoints = symmetric ? undefined : allocate("uint8", N * zeroBytes);
  const coding = { bits, blockSize, float16Scales: options.scales === "float16" };
  const noise = new Float64Array(3);
  const kernels = kernelsFor(columns * workBytes + 4096);
  const panels = gatherPanels(kernels, { rowBytes: columnBytes, count: columns }, (codes, count, first) => {
    const panelPacked = kernels.allocateUnset(count * blocks * blob);
    const scaleBytes = kernels.allocateUnset(4 * count * blocks);
    const panelScales = new Float32Array(scaleBytes.buffer, scaleBytes.byteOffset, count * blocks);
    const panelZeros = symmetric ? undefined : kernels.allocateUnset(count * blocks);
    const sums = measured ? kernels.allocateValues(3) : undefined;
    const out = { packed: panelPacked, scales: panelScales, zeroPoints: panelZeros };
    const bad = kernels.quantizeBlocks(out, dtype, codes, [count, K], coding, sums);
    if (bad >= 0) throw nonFiniteWeight(name, `in column ${first + bad} of [K, N]`);
    packed.set(panelPacked, first * blocks * blob);
    scales.set(panelScales, first * blocks);
    if (zeroPoints && panelZeros) {
      for (let i = 0; i < count; i++) {
        packInto(zeroPoints, (first + i) * zeroBytes, panelZeros, i * blocks, blocks, bits, 2 ** (bits - 1));
      }
    }
    if (sums) addNoise(noise, sums);
  });

  return {
    add: panels.add,
    finish() {
      panels.finish();
      const scaleTensor = fromData("float32", scales, [N, blocks]);
      const quantized: BlockQuantized = {
        bits,
        blockSize,
        symmetric,
        K,
        N,
        packed: fromData("uint8", packed, [N, blocks, blob]),
        scales: options.scales === "float16" ? cast(scaleTensor, "float16") : scaleTensor,
        ...(zeroPoints && { zeroPoints: fromData("uint8", zeroPoints, [N, zeroBytes]) }),
      };
      return { quantized, ...noiseResult(noise) };
    },
  };
}
