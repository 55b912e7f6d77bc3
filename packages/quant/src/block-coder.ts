import { createKernels, type Kernels } from "@loomweight/kernels";
import { allocate, cast, type DType, dtypeFacts, fromData } from "@loomweight/tensor";
import type { BlockQuantized } from "./blocks.ts";
import { type BlockBits, nonFiniteWeight } from "./options.ts";
import { packedLength, packInto } from "./packing.ts";

/** dtypes that the kernels code without a cast. */
export type CodedDType = "float32" | "float16" | "bfloat16";

export function isCodedDType(dtype: DType): dtype is CodedDType {
  return dtype === "float32" || dtype === "float16" || dtype === "bfloat16";
}

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

/** Kernels for panels of columns of ordinary length, made on first use, one set a thread. */
let shared: Kernels | undefined;

/** Starts coding; only the codes, the scales and a panel of columns are in memory. */
export function createBlockCoder(options: BlockCoderOptions): BlockCoder {
  const { K, N, bits, blockSize, symmetric, dtype, name, measured = false } = options;
  const columnBytes = (K * dtypeFacts[dtype].bits) / 8;
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
  // What a part of the stream ended in the middle of.
  const held = new Uint8Array(columnBytes);
  let filled = 0;
  let first = 0;

  const kernels = kernelsFor(columns * workBytes + 4096);

  const code = (bytes: Uint8Array, count: number): void => {
    const mark = kernels.mark();
    try {
      const codes = kernels.allocateUnset(bytes.length);
      codes.set(bytes);
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
      if (sums) {
        noise[0] += sums[0];
        noise[1] += sums[1];
        noise[2] = Math.max(noise[2], sums[2]);
      }
    } finally {
      kernels.release(mark);
    }
    first += count;
  };

  return {
    add(bytes) {
      for (let at = 0; at < bytes.length; ) {
        const whole = Math.min(columns, Math.floor((bytes.length - at) / columnBytes));
        if (filled === 0 && whole > 0) {
          code(bytes.subarray(at, at + whole * columnBytes), whole);
          at += whole * columnBytes;
          continue;
        }
        const taken = Math.min(columnBytes - filled, bytes.length - at);
        held.set(bytes.subarray(at, at + taken), filled);
        filled += taken;
        at += taken;
        if (filled < columnBytes) continue;
        filled = 0;
        code(held.subarray(0, columnBytes), 1);
      }
    },
    finish() {
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
      const sqnr = noise[1] === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(noise[0] / noise[1]);
      return { quantized, sqnr, largestError: noise[2] };
    },
  };
}

function kernelsFor(bytes: number): Kernels {
  if (bytes > 2 * panelBytes) return createKernels({ bytes });
  shared ??= createKernels({ bytes: 2 * panelBytes });
  return shared;
}
