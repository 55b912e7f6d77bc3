import type { LazyTensor } from "@loomweight/graph";
import { dtypeFacts, elementCount, fromData, isFloat, type Storage, toFloat32 } from "@loomweight/tensor";

/** Bytes that are read at a time where single elements are asked for. */
const blockBytes = 4096;

/** Blocks side by side that are read at once. */
const longestRun = 1024;

/** Blocks that stay: the first rows of a weight are compared with one tensor after another. */
const keptBlocks = 1024;

/**
 * Single elements of a float tensor that lies in a file, without the rest of it: element i of the result is the one at
 * the i-th row-major place. undefined for what lies in no file.
 */
export function fileSampler(data: LazyTensor): ((places: ArrayLike<number>) => Promise<Float32Array>) | undefined {
  const { dtype, bytes } = data;
  const size = dtypeFacts[dtype].bits / 8;
  const { array } = dtypeFacts[dtype];
  if (bytes === undefined || array === undefined || !isFloat(dtype) || blockBytes % size !== 0) return undefined;
  const length = size * elementCount(data.shape);
  const floatsOf = (read: Uint8Array): Float32Array => {
    const aligned = read.byteOffset % size === 0 ? read : read.slice();
    const codes = new (array as unknown as new (buffer: ArrayBufferLike, at: number, count: number) => Storage)(
      aligned.buffer,
      aligned.byteOffset,
      aligned.length / size,
    );
    return toFloat32(fromData(dtype, codes, [codes.length]));
  };
  const perBlock = blockBytes / size;
  const kept = new Map<number, Float32Array>();
  return async (places) => {
    const wanted = new Set<number>();
    for (let i = 0; i < places.length; i++) wanted.add(Math.floor(places[i] / perBlock));
    const blocks = new Map<number, Float32Array>();
    const missing: number[] = [];
    for (const block of [...wanted].sort((a, b) => a - b)) {
      const known = kept.get(block);
      if (known === undefined) missing.push(block);
      else blocks.set(block, known);
    }
    for (let at = 0; at < missing.length; ) {
      const first = missing[at];
      let count = 1;
      while (count < longestRun && missing[at + count] === first + count) count++;
      const read = await bytes(first * blockBytes, Math.min(length, (first + count) * blockBytes));
      const values = floatsOf(read);
      for (let i = 0; i < count; i++)
        blocks.set(first + i, count === 1 ? values : values.slice(i * perBlock, (i + 1) * perBlock));
      at += count;
    }
    if (kept.size + missing.length > keptBlocks) kept.clear();
    if (missing.length <= keptBlocks) for (const block of missing) kept.set(block, blocks.get(block) as Float32Array);
    return Float32Array.from(
      places,
      (place) => (blocks.get(Math.floor(place / perBlock)) as Float32Array)[place % perBlock],
    );
  };
}
