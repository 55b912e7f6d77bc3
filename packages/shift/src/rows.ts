import { LoomweightError, type Tensor, toFloat64 } from "@loomweight/tensor";

/** A matrix read into float64, row-major. */
export interface Rows {
  readonly rows: number;
  readonly columns: number;
  readonly data: Float64Array;
}

/** The elements of a matrix [rows, columns]; throws `SHAPE_MISMATCH` for another rank, `INVALID_OPERAND` for NaN. */
export function rowsOf(tensor: Tensor, what: string): Rows {
  if (tensor.shape.length !== 2) {
    throw new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: `${what} must be a matrix with one row per sample`,
      expected: "[samples, columns]",
      found: `[${tensor.shape}]`,
    });
  }
  const data = toFloat64(tensor);
  const bad = data.findIndex(Number.isNaN);
  if (bad >= 0) {
    throw new LoomweightError({
      code: "INVALID_OPERAND",
      problem: `${what} of sample ${Math.floor(bad / tensor.shape[1])} are not numbers`,
      found: "NaN",
      fix: "Look at the model's input for this sample.",
    });
  }
  return { rows: tensor.shape[0], columns: tensor.shape[1], data };
}

/** out[n] = softmax of row n of `scores`, in float64. */
export function softmaxRows({ rows, columns, data }: Rows): Rows {
  const out = new Float64Array(data.length);
  for (let n = 0; n < rows; n++) {
    const at = n * columns;
    let largest = Number.NEGATIVE_INFINITY;
    for (let c = 0; c < columns; c++) largest = Math.max(largest, data[at + c]);
    let total = 0;
    for (let c = 0; c < columns; c++) {
      out[at + c] = Math.exp(data[at + c] - largest);
      total += out[at + c];
    }
    for (let c = 0; c < columns; c++) out[at + c] /= total;
  }
  return { rows, columns, data: out };
}

/** Each row divided by its length (at least 1e-12). */
export function unitRows({ rows, columns, data }: Rows): Rows {
  const out = new Float64Array(data.length);
  for (let n = 0; n < rows; n++) {
    const at = n * columns;
    let squares = 0;
    for (let d = 0; d < columns; d++) squares += data[at + d] ** 2;
    const length = Math.max(Math.sqrt(squares), 1e-12);
    for (let d = 0; d < columns; d++) out[at + d] = data[at + d] / length;
  }
  return { rows, columns, data: out };
}
