import type { Checkpoint, TensorInfo } from "@loomweight/checkpoint";
import { createKernels, type KernelDType, type Kernels } from "@loomweight/kernels";
import { type DType, dtypeFacts, isFloat } from "@loomweight/tensor";

/** Elements that are cast at a time: values and codes stay in the cache. */
const blockLength = 16384;

/** Elements of a part, about: small enough for the cache, large enough for the disk. */
const partLength = 16 * blockLength;

/**
 * Memory that streaming weights is done in, used again for one tensor after another: touching fresh memory costs more
 * than casting and transposing. One stream at a time; a second one beside it gets memory of its own.
 */
export interface Scratch {
  /** A loan of the memory, or undefined while another stream has it. */
  borrow(): ScratchLoan | undefined;
}

interface ScratchLoan {
  /** At least `length` bytes with whatever content, the same ones for the same `slot`. */
  bytes(slot: "source" | "turned" | "out", length: number): Uint8Array<ArrayBuffer>;
  kernels(): Kernels;
  giveBack(): void;
}

/** Scratch memory that grows to what the largest tensor needs, and is freed with the last reference to it. */
export function createScratch(): Scratch {
  const slots = new Map<string, Uint8Array<ArrayBuffer>>();
  let kernels: Kernels | undefined;
  let lent = false;
  const loan: ScratchLoan = {
    bytes(slot, length) {
      let memory = slots.get(slot);
      if (memory === undefined || memory.length < length) {
        memory = new Uint8Array(length);
        slots.set(slot, memory);
      }
      return memory.subarray(0, length);
    },
    kernels() {
      kernels ??= createKernels({ bytes: 32 * blockLength });
      return kernels;
    },
    giveBack() {
      lent = false;
    },
  };
  return {
    borrow() {
      if (lent) return undefined;
      lent = true;
      return loan;
    },
  };
}

/** Whether `streamTensors` can give these bytes. */
export function canStream(info: TensorInfo, transpose: boolean, dtype: DType): boolean {
  const { kind, bits } = dtypeFacts[info.dtype];
  if (kind === "packed" || kind === "text" || kind === "complex" || bits < 8) return false;
  if (transpose && info.shape.length !== 2) return false;
  return info.dtype === dtype || (isFloat(info.dtype) && isFloat(dtype));
}

/**
 * The bytes of tensors of one dtype, one below the other in row-major order, transposed and cast on the way, in parts that
 * are valid until the next one is asked for. Without a transpose only a part is in memory, with one the stored matrices.
 */
export async function* streamTensors(
  checkpoint: Checkpoint,
  infos: readonly TensorInfo[],
  { transpose, dtype, scratch }: { transpose: boolean; dtype: DType; scratch: Scratch },
): AsyncGenerator<Uint8Array, void, void> {
  const loan = scratch.borrow() ?? (createScratch().borrow() as ScratchLoan);
  const [{ dtype: stored }] = infos;
  try {
    for await (const codes of transpose ? turnedRows(checkpoint, infos, loan) : rows(checkpoint, infos, loan)) {
      yield stored === dtype ? codes : castCodes(codes, stored, dtype, loan);
    }
  } finally {
    loan.giveBack();
  }
}

async function* rows(
  checkpoint: Checkpoint,
  infos: readonly TensorInfo[],
  loan: ScratchLoan,
): AsyncGenerator<Uint8Array> {
  for (const info of infos) {
    const step = partLength * (dtypeFacts[info.dtype].bits / 8);
    for (let start = 0; start < info.byteLength; start += step) {
      const end = Math.min(info.byteLength, start + step);
      yield await checkpoint.readBytes(info.name, { start, end, into: loan.bytes("source", end - start) });
    }
  }
}

/** The rows of the transpose of stored matrices that lie one below the other, some at a time. */
async function* turnedRows(
  checkpoint: Checkpoint,
  infos: readonly TensorInfo[],
  loan: ScratchLoan,
): AsyncGenerator<Uint8Array> {
  const height = infos.reduce((sum, { shape }) => sum + shape[0], 0);
  const width = infos[0].shape[1];
  const size = dtypeFacts[infos[0].dtype].bits / 8;
  if (height * width === 0) return;
  const stored = loan.bytes("source", height * width * size);
  let at = 0;
  for (const { name, byteLength } of infos) {
    await checkpoint.readBytes(name, { into: stored.subarray(at, at + byteLength) });
    at += byteLength;
  }
  // A line of the cache holds at least this many neighbours in a row, so that reading down a column wastes nothing.
  const count = Math.max(64 / size, Math.floor(partLength / height));
  for (let first = 0; first < width; first += count) {
    const last = Math.min(width, first + count);
    const turned = loan.bytes("turned", (last - first) * height * size);
    turnInto(wordsOf(turned, size), wordsOf(stored, size), height, width, first, last);
    yield turned;
  }
}

type Words = Uint8Array | Uint16Array | Uint32Array | BigUint64Array;

/** The elements as whole words of their size: they are moved, not computed with. */
function wordsOf(bytes: Uint8Array, size: number): Words {
  const { buffer, byteOffset, byteLength } = bytes;
  if (size === 1) return bytes;
  if (size === 2) return new Uint16Array(buffer, byteOffset, byteLength / 2);
  if (size === 4) return new Uint32Array(buffer, byteOffset, byteLength / 4);
  return new BigUint64Array(buffer, byteOffset, byteLength / 8);
}

/** out[column − first][row] = matrix[row][column] for the columns [first, last), in blocks that stay in the cache. */
function turnInto(out: Words, matrix: Words, height: number, width: number, first: number, last: number): void {
  if (out instanceof BigUint64Array || matrix instanceof BigUint64Array) {
    for (let column = first; column < last; column++) {
      for (let row = 0; row < height; row++) out[(column - first) * height + row] = matrix[row * width + column];
    }
    return;
  }
  const block = 64;
  for (let top = 0; top < height; top += block) {
    const bottom = Math.min(height, top + block);
    for (let column = first; column < last; column++) {
      const to = (column - first) * height;
      for (let row = top; row < bottom; row++) out[to + row] = matrix[row * width + column];
    }
  }
}

/** Float codes of one dtype as those of another, each rounded once. */
function castCodes(codes: Uint8Array, from: DType, to: DType, loan: ScratchLoan): Uint8Array {
  const [sizeFrom, sizeTo] = [dtypeFacts[from].bits / 8, dtypeFacts[to].bits / 8];
  const count = codes.length / sizeFrom;
  const out = loan.bytes("out", count * sizeTo);
  const kernels = loan.kernels();
  const mark = kernels.mark();
  try {
    const values = kernels.allocateValues(blockLength);
    const staging = kernels.allocateUnset(8 * blockLength);
    for (let start = 0; start < count; start += blockLength) {
      const length = Math.min(blockLength, count - start);
      const block = values.subarray(0, length);
      const read = staging.subarray(0, length * sizeFrom);
      read.set(codes.subarray(start * sizeFrom, (start + length) * sizeFrom));
      kernels.load(block, from as KernelDType, read);
      const written = staging.subarray(0, length * sizeTo);
      kernels.store(to as KernelDType, written, block);
      out.set(written, start * sizeTo);
    }
  } finally {
    kernels.release(mark);
  }
  return out;
}
