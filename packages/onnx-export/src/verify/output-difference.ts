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
  /** Largest `relative` that the file's kind of weights may have. */
  readonly limit?: number;
}

/**
 * Largest ‖a − b‖ / ‖b‖ that a kind of weights may have, given what rounding the same model to it costs (`noise`, where
 * that was measured): other ways of rounding cost at most about twice as much. Without a measurement: most of what 36
 * models had, tiny random ones among them: fp32 7e-7, fp16 0.003, 8 bits 0.10, 4 bits 0.62 (trained ones 0.11).
 */
export function relativeLimit(dtype: ExportDType, noise?: number): number {
  const { least, most } =
    limits[
      exportDTypes[dtype].blocks
        ? "fourBits"
        : dtype === "fp32" || dtype === "fp16" || dtype === "bf16"
          ? dtype
          : "eightBits"
    ];
  return noise === undefined ? most : Math.min(most, Math.max(least, 2 * noise));
}

/** `least`: below it nothing is said; `most`: above it nothing is right. */
const limits = {
  fp32: { least: 1e-4, most: 1e-4 },
  fp16: { least: 1e-2, most: 1e-2 },
  bf16: { least: 5e-2, most: 5e-2 },
  eightBits: { least: 0.02, most: 0.2 },
  fourBits: { least: 0.06, most: 0.7 },
} as const;

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
