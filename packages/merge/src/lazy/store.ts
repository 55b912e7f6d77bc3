import type { KernelDType } from "@loomweight/kernels";
import { byteLengthOf, type DType, LoomweightError } from "@loomweight/tensor";
import type { LazyTensor } from "./lazy-tensor.ts";
import { type ElementRange, streamTiles } from "./stream.ts";

export interface StoreOptions {
  readonly dtype: KernelDType;
  /** Name of the tensor, for messages. */
  readonly name: string;
  /** Let infinities and NaN pass; default false. */
  readonly allowNonFinite?: boolean;
  /** Elements to evaluate; default all. It must begin at a multiple of the engine's block size. */
  readonly range?: ElementRange;
  /** Takes bytes of the tensor from byte `start` on; the array is free again when the promise resolves. */
  readonly write: (start: number, bytes: Uint8Array) => Promise<void>;
}

/** Values of this size and more are infinite once rounded to the dtype. */
const overflow: Partial<Record<DType, number>> = {
  float32: 2 ** 128 - 2 ** 103,
  bfloat16: 2 ** 128 - 2 ** 119,
  float16: 65520,
};

/**
 * Evaluates `tensor` tile by tile, rounds it once into `dtype` and writes it, a write being under way while the next
 * tile is computed. Throws `NON_FINITE` at the first value that is infinite or NaN, or becomes so by rounding.
 */
export async function storeTensor(tensor: LazyTensor, options: StoreOptions): Promise<void> {
  const { engine, size } = tensor;
  const { kernels } = engine;
  const { dtype, allowNonFinite = false, range = { start: 0, end: size } } = options;
  const elementBytes = byteLengthOf(dtype, 1);
  const limit = overflow[dtype] ?? Number.POSITIVE_INFINITY;
  const blocks = Math.max(1, Math.ceil((range.end - range.start) / engine.blockSize));
  const longest = Math.min(engine.tileElements, blocks * engine.blockSize);
  const buffers: Uint8Array[] = [];
  const pending: Promise<unknown>[] = [];
  let tileStart = 0;
  let tiles = 0;
  await streamTiles(
    [tensor],
    ([values], start) => {
      if (!allowNonFinite) refuseNonFinite(options.name, kernels.firstNonFinite(values), start, values);
      const at = (start - tileStart) * elementBytes;
      kernels.store(dtype, buffers[tiles % 2].subarray(at, at + values.length * elementBytes), values);
      if (!allowNonFinite && kernels.maxAbs(values) >= limit) {
        const index = values.findIndex((value) => Math.abs(value) >= limit);
        refuseNonFinite(options.name, index, start, values, dtype);
      }
    },
    {
      ranges: [range],
      beforeTile: async (tile) => {
        tileStart = tile.start;
        await pending[tiles % 2];
        buffers[tiles % 2] ??= kernels.allocateUnset(longest * elementBytes);
      },
      afterTile: (tile) => {
        const bytes = buffers[tiles % 2].subarray(0, (tile.end - tile.start) * elementBytes);
        const written = options.write(tile.start * elementBytes, bytes);
        written.catch(() => undefined); // awaited before the buffer is used again and at the end
        pending[tiles % 2] = written;
        tiles++;
      },
      finish: async () => {
        await Promise.allSettled(pending);
      },
    },
  );
  await Promise.all(pending);
}

function refuseNonFinite(name: string, index: number, start: number, values: Float64Array, dtype?: DType): void {
  if (index < 0) return;
  throw new LoomweightError({
    code: "NON_FINITE",
    problem: `element ${start + index} of the result is not finite${dtype === undefined ? "" : ` in ${dtype}`}`,
    tensor: name,
    found: String(values[index]),
    fix:
      dtype === undefined
        ? "Look for NaN or infinities in the models and for weights that cancel, or allow non-finite results."
        : "Ask for a dtype with a wider range (dtype: bfloat16 or float32), or allow non-finite results.",
  });
}
