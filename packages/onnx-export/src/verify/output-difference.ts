import { LoomweightError, type Tensor, toFloat32 } from "@loomweight/tensor";
import { type ExportDType, exportDTypes } from "../dtypes.ts";

/** How one output differs from the reference, over the positions that are no padding. */
export interface OutputDifference {
  readonly name: string;
  /** Largest |a − b|. */
  readonly maxDifference: number;
  /** Largest |b|, to judge it by. */
  readonly largest: number;
  /** ‖a − b‖ / ‖b‖ over all values; two unrelated outputs have about 1.4. */
  readonly relative: number;
}

/**
 * Largest ‖a − b‖ / ‖b‖ that a kind of weights may have: float32 differs by the order of its sums; 4-bit weights of a
 * small or untrained model may be 60 % off, and another model is as a rule above 100 %.
 */
export function relativeLimit(dtype: ExportDType): number {
  return exportDTypes[dtype].blocks ? 0.9 : (limits[dtype] ?? 0.25);
}

const limits: Partial<Readonly<Record<ExportDType, number>>> = { fp32: 1e-3, fp16: 2e-2 };

type Outputs = Readonly<Record<string, Tensor>>;

/**
 * Differences of all outputs that both have, in the reference's order. `real` tells positions from padding; where
 * positions are is told by the name: axis 2 of a cache, axis 1 of what has `width` there. Throws `UNEXPECTED_OUTPUT`
 * for unequal shapes or none in common.
 */
export function outputDifferences(
  actual: Outputs,
  reference: Outputs,
  width: number,
  real: (row: number, column: number) => boolean,
): OutputDifference[] {
  const names = Object.keys(reference).filter((name) => Object.hasOwn(actual, name));
  if (names.length === 0) {
    throw new LoomweightError({
      code: "UNEXPECTED_OUTPUT",
      problem: "the two have no output in common",
      expected: Object.keys(reference).join(", "),
      found: Object.keys(actual).join(", "),
    });
  }
  return names.map((name) => {
    const [a, b] = [actual[name], reference[name]];
    if (`${a.shape}` !== `${b.shape}`) {
      throw new LoomweightError({
        code: "UNEXPECTED_OUTPUT",
        problem: `the output ${name} is of another size`,
        expected: `[${b.shape}]`,
        found: `[${a.shape}]`,
      });
    }
    const axis = name.startsWith("present.") ? 2 : b.shape.length > 1 && b.shape[1] === width ? 1 : undefined;
    return { name, ...difference(toFloat32(a), toFloat32(b), b.shape, axis, real) };
  });
}

function difference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  shape: readonly number[],
  axis: number | undefined,
  real: (row: number, column: number) => boolean,
): Omit<OutputDifference, "name"> {
  const product = (sizes: readonly number[]) => sizes.reduce((count, size) => count * size, 1);
  const perRow = product(shape.slice(1));
  const inner = axis === undefined ? 1 : product(shape.slice(axis + 1));
  let maxDifference = 0;
  let largest = 0;
  let error = 0;
  let size = 0;
  for (let i = 0; i < b.length; i++) {
    if (axis !== undefined && !real(Math.floor(i / perRow), Math.floor(i / inner) % shape[axis])) continue;
    const apart = Math.abs(a[i] - b[i]);
    maxDifference = Math.max(maxDifference, Number.isNaN(apart) ? Number.POSITIVE_INFINITY : apart);
    largest = Math.max(largest, Math.abs(b[i]));
    error += apart * apart;
    size += b[i] * b[i];
  }
  const relative = error === 0 ? 0 : Math.sqrt(error / size);
  return { maxDifference, largest, relative: Number.isNaN(relative) ? Number.POSITIVE_INFINITY : relative };
}
