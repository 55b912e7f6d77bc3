import type { Checkpoint } from "@loomweight/checkpoint";
import type { KernelDType } from "@loomweight/kernels";
import { byteLengthOf, elementCount } from "@loomweight/tensor";
import type { TileSource } from "./lazy/engine.ts";

/**
 * Tensor `name` of a checkpoint as a tile source. `cut` takes the leading rows and columns of a matrix that has more.
 */
export function checkpointSource(
  checkpoint: Checkpoint,
  name: string,
  options: { cut?: readonly number[]; signal?: AbortSignal } = {},
): TileSource {
  const { cut, signal } = options;
  const info = checkpoint.tensors.get(name);
  if (info === undefined) throw new Error(`a plan names "${name}", which ${checkpoint.location} does not have`);
  const elementBytes = byteLengthOf(info.dtype, 1);
  const readRange = (start: number, end: number, into: Uint8Array) =>
    checkpoint.readBytes(name, { start: start * elementBytes, end: end * elementBytes, into, signal });
  const shape = cut ?? info.shape;
  const columns = shape[1];
  const stored = info.shape[1];
  const wholeRows = cut === undefined || columns === stored;
  return {
    name,
    model: checkpoint.location,
    dtype: info.dtype as KernelDType,
    shape,
    size: elementCount(shape),
    elementBytes,
    async read(start, end, into) {
      if (wholeRows) {
        // Leading rows of a row-major matrix lie at its beginning.
        await readRange(start, end, into);
        return;
      }
      for (let at = start; at < end; ) {
        const row = Math.floor(at / columns);
        const stop = Math.min(end, (row + 1) * columns);
        const first = row * stored + (at - row * columns);
        const target = into.subarray((at - start) * elementBytes, (stop - start) * elementBytes);
        await readRange(first, first + (stop - at), target);
        at = stop;
      }
    },
  };
}
