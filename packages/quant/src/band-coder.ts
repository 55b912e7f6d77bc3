import { allocate, cast, fromData } from "@loomweight/tensor";
import type { BlockCoder, BlockCoderOptions } from "./block-coder.ts";
import type { BlockQuantized } from "./blocks.ts";
import { nonFiniteWeight } from "./options.ts";
import { packedLength, packInto } from "./packing.ts";
import { addNoise, bytesOf, kernelsFor, noiseResult } from "./panels.ts";

/** Bytes of a band, about: rows that are in memory at once. It holds one block of every column at least. */
const bandBytes = 2 ** 23;
/** Bytes of a band's columns that are turned and coded at a time, about. */
const chunkBytes = 2 ** 18;

/**
 * As `createBlockCoder`, for a weight [K, N] whose rows arrive: blocks lie along K, so a band of `blockSize` rows holds
 * one block of each column. Only the codes, the scales and a band are in memory. The noise is summed in another order.
 */
export function createBandCoder(options: BlockCoderOptions): BlockCoder {
  const { K, N, bits, blockSize, symmetric, dtype, name, measured = false } = options;
  const size = bytesOf(dtype);
  const blocks = Math.ceil(K / blockSize);
  const blob = packedLength(blockSize, bits);
  const rowBytes = N * size;
  const bandBlocks = Math.max(1, Math.min(blocks, Math.floor(bandBytes / (rowBytes * blockSize))));
  const bandRows = bandBlocks * blockSize;
  const columns = Math.max(16, Math.min(N, Math.floor(chunkBytes / (bandRows * size))));
  const packed = allocate("uint8", N * blocks * blob);
  const scales = allocate("float32", N * blocks);
  const zeroCodes = symmetric ? undefined : new Uint8Array(N * blocks);
  const coding = { bits, blockSize, float16Scales: options.scales === "float16" };
  const noise = new Float64Array(3);
  const kernels = kernelsFor(columns * bandRows * (size + 1) + columns * bandBlocks * 8 + 4096);
  const band = new Uint8Array(Math.min(bandRows, K) * rowBytes);
  let filled = 0;
  let block = 0;

  const codeColumns = (rows: number, first: number, count: number): void => {
    const turned = kernels.allocateUnset(count * rows * size);
    turnColumns(turned, band, { size, rows, width: N, first, count });
    const held = Math.ceil(rows / blockSize);
    const chunkPacked = kernels.allocateUnset(count * held * blob);
    const scaleBytes = kernels.allocateUnset(4 * count * held);
    const chunkScales = new Float32Array(scaleBytes.buffer, scaleBytes.byteOffset, count * held);
    const chunkZeros = symmetric ? undefined : kernels.allocateUnset(count * held);
    const sums = measured ? kernels.allocateValues(3) : undefined;
    const out = { packed: chunkPacked, scales: chunkScales, zeroPoints: chunkZeros };
    const bad = kernels.quantizeBlocks(out, dtype, turned, [count, rows], coding, sums);
    if (bad >= 0) throw nonFiniteWeight(name, `in column ${first + bad} of [K, N]`);
    for (let i = 0; i < count; i++) {
      const to = (first + i) * blocks + block;
      packed.set(chunkPacked.subarray(i * held * blob, (i + 1) * held * blob), to * blob);
      for (let j = 0; j < held; j++) {
        scales[to + j] = chunkScales[i * held + j];
        if (zeroCodes && chunkZeros) zeroCodes[to + j] = chunkZeros[i * held + j];
      }
    }
    if (sums) addNoise(noise, sums);
  };
  const codeBand = (): void => {
    const rows = filled / rowBytes;
    for (let first = 0; first < N; first += columns) {
      const mark = kernels.mark();
      try {
        codeColumns(rows, first, Math.min(columns, N - first));
      } finally {
        kernels.release(mark);
      }
    }
    block += Math.ceil(rows / blockSize);
    filled = 0;
  };

  return {
    add(bytes) {
      for (let at = 0; at < bytes.length; ) {
        const taken = Math.min(band.length - filled, bytes.length - at);
        band.set(bytes.subarray(at, at + taken), filled);
        filled += taken;
        at += taken;
        if (filled === band.length) codeBand();
      }
    },
    finish() {
      if (filled > 0) codeBand();
      const scaleTensor = fromData("float32", scales, [N, blocks]);
      const quantized: BlockQuantized = {
        bits,
        blockSize,
        symmetric,
        K,
        N,
        packed: fromData("uint8", packed, [N, blocks, blob]),
        scales: options.scales === "float16" ? cast(scaleTensor, "float16") : scaleTensor,
        ...(zeroCodes && {
          zeroPoints: fromData("uint8", packZeroPoints(zeroCodes, N, blocks, bits), [N, packedLength(blocks, bits)]),
        }),
      };
      return { quantized, ...noiseResult(noise) };
    },
  };
}

function packZeroPoints(codes: Uint8Array, N: number, blocks: number, bits: 2 | 4 | 8): Uint8Array<ArrayBuffer> {
  const bytes = packedLength(blocks, bits);
  const out = new Uint8Array(N * bytes);
  for (let n = 0; n < N; n++) packInto(out, n * bytes, codes, n * blocks, blocks, bits, 2 ** (bits - 1));
  return out;
}

/** out[column − first][row] = matrix[row][column], in squares that stay in the cache. */
function turnColumns(
  out: Uint8Array,
  matrix: Uint8Array,
  { size, rows, width, first, count }: { size: number; rows: number; width: number; first: number; count: number },
): void {
  const Words = size === 2 ? Uint16Array : Uint32Array;
  const to = new Words(out.buffer as ArrayBuffer, out.byteOffset, count * rows);
  const from = new Words(matrix.buffer as ArrayBuffer, matrix.byteOffset, rows * width);
  const square = 32;
  for (let top = 0; top < rows; top += square) {
    const bottom = Math.min(rows, top + square);
    for (let column = 0; column < count; column++) {
      for (let row = top; row < bottom; row++) to[column * rows + row] = from[row * width + first + column];
    }
  }
}
