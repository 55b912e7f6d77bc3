import { isWhole, isWide, type WholeDType, wholeRange } from "./cast-integers.ts";
import type { DType, Storage } from "./dtype.ts";
import { LoomweightError, shapeMismatch } from "./errors.ts";
import { allocate, elementCount, fromData, type Tensor, zeros } from "./tensor.ts";
import { fromFloat64 } from "./values.ts";

/** Numbers (bigints for exact 64-bit integers, booleans for 0 and 1) in arrays that are nested as deep as the rank. */
export type NestedNumbers =
  | number
  | bigint
  | boolean
  | ArrayLike<number>
  | ArrayLike<bigint>
  | readonly NestedNumbers[];

/**
 * A tensor from numbers. The shape is that of the nested arrays, or `shape`, row-major; each value is rounded once to
 * `dtype` (default float32); whole numbers saturate. Throws `RAGGED_ARRAY` when rows differ in length, `SHAPE_MISMATCH`
 * when the values do not fill `shape`, `INVALID_SHAPE` when it is no array.
 */
export function tensor<D extends DType = "float32">(
  values: NestedNumbers,
  shape?: readonly number[],
  dtype?: D,
): Tensor<D> {
  if (shape !== undefined && !Array.isArray(shape)) {
    throw new LoomweightError({
      code: "INVALID_SHAPE",
      problem: "tensor: the second argument is the shape",
      expected: "an array of sizes, or undefined for that of the nested arrays",
      found: typeof shape === "string" ? JSON.stringify(shape) : typeof shape,
      fix:
        typeof shape === "string"
          ? `Give the dtype third: tensor(values, undefined, ${JSON.stringify(shape)}).`
          : undefined,
    });
  }
  const type = (dtype ?? "float32") as D;
  const found = shapeOf(values);
  const count = elementCount(found);
  if (shape !== undefined && elementCount(shape) !== count) {
    throw shapeMismatch({
      where: "tensor",
      expected: { from: "shape", shape },
      got: { from: "values", shape: found },
      fix: "Give as many values as the shape has elements.",
    });
  }
  if (values instanceof Float32Array || values instanceof Float64Array) {
    return fromFloat64(new Float64Array(values), shape ?? found, type);
  }
  const flat: (number | bigint | boolean)[] = [];
  flatten(values, found, 0, flat);
  if (isWhole(type) && flat.every((value) => typeof value !== "number" || Number.isSafeInteger(value))) {
    return fromData(type, wholeCodes(flat, type) as Storage<D>, shape ?? found);
  }
  return fromFloat64(Float64Array.from(flat, Number), shape ?? found, type);
}

/** Codes of whole numbers, exact beyond 2^53 too. */
function wholeCodes(values: readonly (number | bigint | boolean)[], dtype: WholeDType): Storage<WholeDType> {
  const { low, high } = wholeRange(dtype);
  const codes = allocate(dtype, values.length);
  for (let i = 0; i < values.length; i++) {
    const value = BigInt(values[i]);
    const held = dtype === "bool" ? BigInt(value !== 0n) : value < low ? low : value > high ? high : value;
    codes[i] = isWide(dtype) ? held : Number(held);
  }
  return codes;
}

/** A tensor of rank 0. */
export function scalar<D extends DType = "float32">(value: number | bigint | boolean, dtype?: D): Tensor<D> {
  return tensor(value, [], dtype);
}

/** A tensor with one value everywhere. */
export function full<D extends DType = "float32">(
  shape: readonly number[],
  value: number | bigint,
  dtype?: D,
): Tensor<D> {
  const type = (dtype ?? "float32") as D;
  const one = scalar(value, type);
  const out = zeros(shape, type);
  (out.data as unknown as { fill(code: unknown): void }).fill((one.data as ArrayLike<unknown>)[0]);
  return out;
}

function isArray(values: NestedNumbers): values is readonly NestedNumbers[] {
  return typeof values === "object" && values !== null && typeof (values as ArrayLike<number>).length === "number";
}

const deepest = 32;

function shapeOf(values: NestedNumbers): number[] {
  const shape: number[] = [];
  let row = values;
  while (isArray(row)) {
    shape.push(row.length);
    if (row.length === 0) break;
    if (shape.length > deepest) throw ragged(`at most ${deepest} axes`, "deeper arrays");
    row = row[0];
  }
  return shape;
}

function flatten(
  values: NestedNumbers,
  shape: readonly number[],
  axis: number,
  flat: (number | bigint | boolean)[],
): void {
  if (axis === shape.length) {
    if (typeof values !== "number" && typeof values !== "bigint" && typeof values !== "boolean") {
      throw ragged(`numbers at depth ${axis}`, isArray(values) ? "an array" : String(values));
    }
    flat.push(values);
    return;
  }
  if (!isArray(values) || values.length !== shape[axis]) {
    throw ragged(`${shape[axis]} entries on axis ${axis}`, isArray(values) ? `${values.length}` : String(values));
  }
  for (let i = 0; i < values.length; i++) flatten(values[i], shape, axis + 1, flat);
}

function ragged(expected: string, found: string): LoomweightError {
  return new LoomweightError({ code: "RAGGED_ARRAY", problem: "nested arrays do not form a tensor", expected, found });
}
