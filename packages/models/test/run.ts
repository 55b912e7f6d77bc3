import { encodeOnnx, type OnnxModel } from "@loomweight/graph";
import { openSession, type Session } from "@loomweight/graph/node";
import { fromData, type Tensor } from "@loomweight/tensor";

/** A built model as a session of onnxruntime, by way of its bytes. */
export async function sessionOf(model: OnnxModel): Promise<Session> {
  return openSession(await encodeOnnx(model), { threads: 1 });
}

/** Columns [start, end) of a [rows, columns, ...] tensor of float32 or int64. */
export function columns(tensor: Tensor, start: number, end: number): Tensor {
  const [rows, width, ...rest] = tensor.shape;
  const inner = rest.reduce((product, size) => product * size, 1);
  const source = tensor.data as Float32Array | BigInt64Array;
  const target = source.slice(0, rows * (end - start) * inner);
  for (let row = 0; row < rows; row++) {
    const from = (row * width + start) * inner;
    target.set(source.subarray(from, from + (end - start) * inner) as never, row * (end - start) * inner);
  }
  return fromData(tensor.dtype, target, [rows, end - start, ...rest]);
}

export function int64(rows: readonly (readonly number[])[]): Tensor {
  const data = BigInt64Array.from(rows.flat(), (value) => BigInt(value));
  return fromData("int64", data, [rows.length, rows[0].length]);
}

/** A [rows, columns] int64 tensor as numbers. */
export function rowsOf(tensor: Tensor): number[][] {
  const [rows, width] = tensor.shape;
  const data = tensor.data as BigInt64Array;
  return Array.from({ length: rows }, (_, row) => Array.from(data.subarray(row * width, (row + 1) * width), Number));
}

/**
 * Largest amount by which |actual − expected| exceeds atol + rtol · |expected|, over the positions that `real` keeps.
 * Both are [rows, columns, ...]; NaN counts as infinite. At most 0 is a match.
 */
export function excess(
  actual: Tensor,
  expected: Tensor,
  { atol, rtol, real }: { atol: number; rtol: number; real?: (row: number, column: number) => boolean },
): number {
  if (`${actual.shape}` !== `${expected.shape}`)
    throw new Error(`shape [${actual.shape}], expected [${expected.shape}]`);
  const [rows, width = 1, ...rest] = expected.shape;
  const inner = rest.reduce((product, size) => product * size, 1);
  let worst = Number.NEGATIVE_INFINITY;
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < width; column++) {
      if (real !== undefined && !real(row, column)) continue;
      const start = (row * width + column) * inner;
      for (let i = start; i < start + inner; i++) {
        const [x, y] = [Number(actual.data[i]), Number(expected.data[i])];
        const over = Math.abs(x - y) - (atol + rtol * Math.abs(y));
        worst = Math.max(worst, Number.isNaN(over) ? Number.POSITIVE_INFINITY : over);
      }
    }
  }
  return worst;
}
