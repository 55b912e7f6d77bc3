import { type CodedDType, createKernels, type Kernels } from "@loomweight/kernels";
import { contiguousData, type DType, dtypeFacts, elementCount, type Tensor } from "@loomweight/tensor";

/** Whether the kernels code a dtype without a cast. */
export function isCodedDType(dtype: DType): dtype is CodedDType {
  return dtype === "float32" || dtype === "float16" || dtype === "bfloat16";
}

/** Bytes of an element. */
export function bytesOf(dtype: CodedDType): number {
  return dtypeFacts[dtype].bits / 8;
}

/** Bytes of kernel memory that is kept for the next weight. */
const keptBytes = 2 ** 22;

/** Kernels for panels of ordinary size, made on first use, one set a thread. */
let shared: Kernels | undefined;

/** Kernels with at least so many bytes free. */
export function kernelsFor(bytes: number): Kernels {
  if (bytes > keptBytes) return createKernels({ bytes });
  shared ??= createKernels({ bytes: keptBytes });
  return shared;
}

/** Rows that a stream of bytes is cut into, however its parts are cut. */
export interface Panels {
  /** The next bytes; `code` is called for each panel that is full. */
  add(bytes: Uint8Array): void;
  /** When all have been added: codes what is left. */
  finish(): void;
}

/**
 * Gathers whole rows of `rowBytes` until there are `count` of them and hands them to `code` in the memory of `kernels`,
 * which is free again afterwards. `code` may allocate more there.
 */
export function gatherPanels(
  kernels: Kernels,
  { rowBytes, count }: { readonly rowBytes: number; readonly count: number },
  code: (codes: Uint8Array, rows: number, first: number) => void,
): Panels {
  const panelBytes = rowBytes * count;
  let held: Uint8Array | undefined; // what a part of the stream ended in the middle of
  let filled = 0;
  let first = 0;
  const flush = (bytes: Uint8Array): void => {
    const rows = bytes.length / rowBytes;
    const mark = kernels.mark();
    try {
      const codes = kernels.allocateUnset(bytes.length);
      codes.set(bytes);
      code(codes, rows, first);
    } finally {
      kernels.release(mark);
    }
    first += rows;
  };
  return {
    add(bytes) {
      for (let at = 0; at < bytes.length; ) {
        if (filled === 0 && bytes.length - at >= panelBytes) {
          flush(bytes.subarray(at, at + panelBytes));
          at += panelBytes;
          continue;
        }
        held ??= new Uint8Array(panelBytes);
        const taken = Math.min(panelBytes - filled, bytes.length - at);
        held.set(bytes.subarray(at, at + taken), filled);
        filled += taken;
        at += taken;
        if (filled < panelBytes) continue;
        flush(held);
        filled = 0;
      }
    },
    finish() {
      if (held && filled > 0) flush(held.subarray(0, filled));
      filled = 0;
    },
  };
}

/** A tensor's codes where they lie in one piece: row-major, or the columns of a matrix one after another. */
export interface PlainCodes {
  readonly dtype: CodedDType;
  readonly order: "elements" | "columns";
  readonly bytes: Uint8Array;
}

/** The codes of a tensor in memory; undefined where they lie apart or need a cast. */
export function plainCodes(tensor: Tensor): PlainCodes | undefined {
  const { dtype, shape, stride, offset, data } = tensor;
  if (!isCodedDType(dtype)) return undefined;
  const { buffer, byteOffset, BYTES_PER_ELEMENT: size } = data as Float32Array;
  if (shape.length === 2 && stride[0] === 1 && shape[0] > 1 && (stride[1] === shape[0] || shape[1] === 1)) {
    const bytes = new Uint8Array(buffer, byteOffset + offset * size, elementCount(shape) * size);
    return { dtype, order: "columns", bytes };
  }
  const dense = contiguousData(tensor) as Float32Array;
  return { dtype, order: "elements", bytes: new Uint8Array(dense.buffer, dense.byteOffset, dense.byteLength) };
}

/** `values` as float32 in the memory of `kernels`. */
export function kernelFloats(kernels: Kernels, values: ArrayLike<number>): Float32Array {
  const { buffer, byteOffset } = kernels.allocateUnset(4 * values.length);
  const out = new Float32Array(buffer, byteOffset, values.length);
  out.set(values);
  return out;
}

/** Adds the sums of one panel to those of all. */
export function addNoise(total: Float64Array, sums: Float64Array): void {
  total[0] += sums[0];
  total[1] += sums[1];
  total[2] = Math.max(total[2], sums[2]);
}

/** What the three sums of a kernel say: of squares, of squared errors, and the largest error. */
export function noiseResult(sums: ArrayLike<number>): { sqnr: number; largestError: number } {
  const [signal, noise, largest] = [sums[0], sums[1], sums[2]];
  return { sqnr: noise === 0 ? Number.POSITIVE_INFINITY : 10 * Math.log10(signal / noise), largestError: largest };
}
