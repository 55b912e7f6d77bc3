import type { LazyTensor } from "./lazy-tensor.ts";
import { type StreamOptions, streamTiles } from "./stream.ts";

/** Inner products of flattened tensors, in float64: entry [i][j] = ⟨tensorᵢ, tensorⱼ⟩. One streamed pass. */
export async function gram(tensors: readonly LazyTensor[]): Promise<number[][]> {
  const { kernels } = tensors[0].engine;
  const count = tensors.length;
  const totals = Array.from({ length: count }, () => new Array<number>(count).fill(0));
  await streamTiles(tensors, (values) => {
    for (let i = 0; i < count; i++) {
      for (let j = i; j < count; j++) totals[i][j] += kernels.dot(values[i], values[j]);
    }
  });
  for (let i = 0; i < count; i++) for (let j = 0; j < i; j++) totals[i][j] = totals[j][i];
  return totals;
}

/** Σ |x|, in float64; sums that are asked for side by side share their streamed pass. */
export function sumAbs(tensor: LazyTensor): Promise<number> {
  return tensor.engine.gather(sumsAbs, tensor);
}

/** Most tensors that one pass looks at: each takes registers. */
const mostTogether = 16;

/** Σ |x| of each tensor, in float64. One streamed pass where they are of one size and not many. */
export async function sumsAbs(tensors: readonly LazyTensor[]): Promise<number[]> {
  const totals = tensors.map(() => 0);
  for (const together of groupsOf(tensors, ({ size }) => size, mostTogether)) {
    const { kernels } = tensors[together[0]].engine;
    await streamTiles(
      together.map((index) => tensors[index]),
      (values) => {
        for (let i = 0; i < together.length; i++) totals[together[i]] += kernels.sumAbs(values[i]);
      },
    );
  }
  return totals;
}

/** Indices of `items` in groups of one key, of at most `most` each. */
export function groupsOf<T>(items: readonly T[], keyOf: (item: T) => unknown, most: number): number[][] {
  const open = new Map<unknown, number[]>();
  const groups: number[][] = [];
  items.forEach((item, index) => {
    const key = keyOf(item);
    const group = open.get(key);
    if (group !== undefined && group.length < most) {
      group.push(index);
      return;
    }
    const fresh = [index];
    open.set(key, fresh);
    groups.push(fresh);
  });
  return groups;
}

/** All values of a tensor; for small tensors and tests. */
export async function valuesOf(tensor: LazyTensor): Promise<Float64Array> {
  const out = new Float64Array(tensor.size);
  await streamTiles([tensor], ([values], start) => out.set(values, start));
  return out;
}

/**
 * Walks tensors of shape [rows, columns] (a 1-D tensor is one row, further axes belong to the columns) row by row;
 * a row may come in several pieces, `column` being where the piece begins.
 */
export async function streamRows(
  tensors: readonly LazyTensor[],
  rowLength: number,
  consume: (pieces: readonly Float64Array[], row: number, column: number) => void,
  options?: StreamOptions,
): Promise<void> {
  const rows = (values: readonly Float64Array[], start: number): void => {
    const count = values[0].length;
    let at = 0;
    while (at < count) {
      const row = Math.floor((start + at) / rowLength);
      const column = start + at - row * rowLength;
      const end = Math.min(count, at + rowLength - column);
      consume(
        values.map((block) => block.subarray(at, end)),
        row,
        column,
      );
      at = end;
    }
  };
  await streamTiles(tensors, rows, options);
}
