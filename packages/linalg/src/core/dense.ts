import {
  contiguousData,
  type DType,
  elementCount,
  fromFloat64,
  LoomweightError,
  type Tensor,
  toFloat64,
} from "@loomweight/tensor";

/** A matrix: a tensor of rank 2, float32 or float64, with any strides. Results have the dtype of the (first) operand. */
export type Matrix = Tensor<"float32" | "float64">;

/** A matrix at work: row-major float64 in an array of its own. */
export interface Dense {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float64Array;
}

/** Who asks, for error messages: the function and the operand's name. */
export interface Place {
  readonly function: string;
  readonly operand: string;
}

function refuse(
  code: string,
  { function: name, operand }: Place,
  problem: string,
  details: { expected?: string; found?: string; fix?: string } = {},
): LoomweightError {
  return new LoomweightError({ code, problem: `${name}: ${problem}`, tensor: operand, ...details });
}

/**
 * Throws `INVALID_ARGUMENT` unless a tensor, `UNSUPPORTED_DTYPE` unless float32 or float64, `SHAPE_MISMATCH` unless of
 * rank 2, without a size of 0, and square where asked; `NOT_FINITE` with the first place of a NaN or infinity.
 */
export function requireMatrix(
  tensor: Tensor,
  place: Place,
  options: { readonly square?: boolean } = {},
): asserts tensor is Matrix {
  if (tensor === null || typeof tensor !== "object" || !Array.isArray(tensor.shape)) {
    throw refuse("INVALID_ARGUMENT", place, "a tensor is needed", { found: tensor === null ? "null" : typeof tensor });
  }
  const { dtype, shape } = tensor;
  if (dtype !== "float32" && dtype !== "float64") {
    throw refuse("UNSUPPORTED_DTYPE", place, "the dtype is not one that matrices have here", {
      expected: "float32 or float64",
      found: dtype,
      fix: "Cast it first.",
    });
  }
  if (shape.length !== 2) {
    throw refuse("SHAPE_MISMATCH", place, "a matrix is needed", { expected: "[rows, columns]", found: `[${shape}]` });
  }
  const [rows, columns] = shape;
  if (elementCount(shape) === 0) {
    throw refuse("SHAPE_MISMATCH", place, "the matrix is empty", { found: `[${shape}]` });
  }
  if (options.square === true && rows !== columns) {
    throw refuse("SHAPE_MISMATCH", place, "the matrix is not square", { found: `[${shape}]` });
  }
  const values = contiguousData(tensor as Matrix);
  for (let at = 0; at < values.length; at++) {
    if (values[at] - values[at] === 0) continue;
    throw refuse("NOT_FINITE", place, "an entry is not finite", {
      found: `${values[at]} at [${Math.floor(at / columns)}, ${at % columns}]`,
    });
  }
}

/** The values of a matrix that `requireMatrix` accepts. */
export function readMatrix(tensor: Tensor, place: Place, options: { readonly square?: boolean } = {}): Dense {
  requireMatrix(tensor, place, options);
  const [rows, columns] = tensor.shape;
  return { rows, columns, values: toFloat64(tensor) };
}

/** As `readMatrix`, refusing what is not symmetric to 1e-5 (float32) or 1e-11 (float64) of its largest entry. */
export function readSymmetric(tensor: Tensor, place: Place): Dense {
  const matrix = readMatrix(tensor, place, { square: true });
  const { rows: n, values } = matrix;
  const limit = (tensor.dtype === "float32" ? 1e-5 : 1e-11) * maxAbs(values);
  const block = 32; // both places stay in the cache
  for (let i0 = 0; i0 < n; i0 += block) {
    for (let j0 = 0; j0 <= i0; j0 += block) {
      const at = firstAsymmetry(values, n, [i0, Math.min(n, i0 + block)], [j0, Math.min(n, j0 + block)], limit);
      if (at === undefined) continue;
      const [i, j] = at;
      throw refuse("NOT_SYMMETRIC", place, "the matrix is not symmetric", {
        found: `${values[i * n + j]} at [${i}, ${j}] and ${values[j * n + i]} at [${j}, ${i}]`,
        fix: "Pass (a + a^T) / 2.",
      });
    }
  }
  return matrix;
}

function firstAsymmetry(
  values: Float64Array,
  n: number,
  [i0, i1]: readonly [number, number],
  [j0, j1]: readonly [number, number],
  limit: number,
): [number, number] | undefined {
  for (let i = i0; i < i1; i++) {
    for (let j = j0; j < Math.min(i, j1); j++)
      if (Math.abs(values[i * n + j] - values[j * n + i]) > limit) return [i, j];
  }
  return undefined;
}

/** Throws `SHAPE_MISMATCH` unless `b` has the rows of `a`. */
export function requireSameRows(name: string, a: Dense, b: Dense): void {
  if (a.rows === b.rows) return;
  throw refuse("SHAPE_MISMATCH", { function: name, operand: "b" }, "the operands differ in rows", {
    expected: `${a.rows} rows, as \`a\` has`,
    found: `${b.rows}`,
  });
}

/** A result in the dtype of the operand. */
export function writeMatrix<D extends DType>(values: Float64Array, shape: readonly number[], dtype: D): Tensor<D> {
  return fromFloat64(values, shape, dtype);
}

export function maxAbs(values: Float64Array): number {
  let largest = 0;
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]);
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

/** Euclidean norm of all entries, safe for values whose squares leave the range. */
export function frobenius(values: Float64Array): number {
  const largest = maxAbs(values);
  if (largest === 0) return 0;
  const scale = 1 / powerOfTwo(largest);
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += (values[i] * scale) ** 2;
  return Math.sqrt(sum) / scale;
}

/** The power of two at or below a positive number (2^-1022 at least, 2^1022 at most): scaling by it is exact. */
export function powerOfTwo(x: number): number {
  const words = new Uint32Array(Float64Array.of(x).buffer);
  const exponent = Math.min(2045, Math.max(1, (words[1] >>> 20) & 0x7ff));
  return new Float64Array(Uint32Array.of(0, exponent << 20).buffer)[0];
}

/** The matrix divided by a power of two, so that squares neither underflow nor overflow. Zero stays zero, with scale 1. */
export function scaled(matrix: Dense): { matrix: Dense; scale: number } {
  const largest = maxAbs(matrix.values);
  const scale = largest === 0 ? 1 : powerOfTwo(largest);
  if (scale === 1) return { matrix, scale };
  const values = new Float64Array(matrix.values.length);
  for (let i = 0; i < values.length; i++) values[i] = matrix.values[i] / scale;
  return { matrix: { ...matrix, values }, scale };
}

export function transposed({ rows, columns, values }: Dense): Dense {
  const out = new Float64Array(values.length);
  const block = 32; // both sides stay in the cache
  for (let i0 = 0; i0 < rows; i0 += block) {
    const i1 = Math.min(rows, i0 + block);
    for (let j0 = 0; j0 < columns; j0 += block) {
      const j1 = Math.min(columns, j0 + block);
      for (let i = i0; i < i1; i++) for (let j = j0; j < j1; j++) out[j * rows + i] = values[i * columns + j];
    }
  }
  return { rows: columns, columns: rows, values: out };
}

export function identity(n: number): Dense {
  const values = new Float64Array(n * n);
  for (let i = 0; i < n; i++) values[i * n + i] = 1;
  return { rows: n, columns: n, values };
}
