import { mul, reshape, type Value } from "@loomweight/graph";
import { type DType, fromFloat64, LoomweightError, type Tensor } from "@loomweight/tensor";
import type { Decision } from "../space/choice.ts";

/** How likely each choice is, by decision: values [#choices] that sum to 1. Tensors or values of a graph. */
export type Probabilities = Readonly<Record<string, Value>>;

/** p [#choices] of a decision; throws `MISSING_PROBABILITIES`, `SHAPE_MISMATCH`. */
export function probabilitiesOf(probabilities: Probabilities, { name, choices }: Decision): Value {
  const p = probabilities[name];
  if (p === undefined) {
    throw new LoomweightError({
      code: "MISSING_PROBABILITIES",
      problem: `nothing says how likely the choices of "${name}" are`,
      expected: `a value [${choices.length}]`,
      found: `probabilities of ${Object.keys(probabilities).join(", ") || "nothing"}`,
    });
  }
  if (p.shape.length === 1 && p.shape[0] === choices.length) return p;
  throw new LoomweightError({
    code: "SHAPE_MISMATCH",
    problem: `probabilities of "${name}" do not fit its choices`,
    expected: `[${choices.length}]`,
    found: `[${p.shape}]`,
  });
}

/** Joint probabilities of several decisions, flattened row-major: the last one changes fastest. [1] for none. */
export function jointProbabilities(probabilities: readonly Value[], dtype: DType): Value {
  if (probabilities.length === 0) return fromFloat64(Float64Array.of(1), [1], dtype);
  return probabilities.reduce((joint, p) => {
    const [rows, columns] = [Number(joint.shape[0]), Number(p.shape[0])];
    return reshape(mul(reshape(joint, [rows, 1]), reshape(p, [1, columns])), [rows * columns]);
  });
}

/** Joint choices of several decisions in the order of `jointProbabilities`. */
export function jointChoices(decisions: readonly Decision[]): ReadonlyMap<string, number>[] {
  return decisions.reduce<ReadonlyMap<string, number>[]>(
    (joint, { name, choices }) => joint.flatMap((each) => choices.map((number) => new Map(each).set(name, number))),
    [new Map()],
  );
}

/** A constant [rows, columns] of 0 and 1, in the dtype it is multiplied with. */
export function indicator(
  rows: number,
  columns: number,
  dtype: DType,
  holds: (row: number, column: number) => boolean,
): Tensor {
  const values = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) values[i * columns + j] = holds(i, j) ? 1 : 0;
  return fromFloat64(values, [rows, columns], dtype);
}
