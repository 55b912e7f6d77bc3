import { matMul, mul, reduceSum, reshape, transpose, type Value } from "@loomweight/graph";
import { type Axis, decisionsOf, largestSize, rangeOf, sizeOf } from "../space/axis.ts";
import type { Decision } from "../space/choice.ts";
import type { ParameterSpec } from "../space/space.ts";
import { indicator, jointChoices, jointProbabilities, type Probabilities, probabilitiesOf } from "./probabilities.ts";

/** Part of the coefficients of a parameter: a value over some of its axes, the others having size 1. */
export interface CoefficientPart {
  readonly axes: readonly number[];
  readonly value: Value;
}

/**
 * How much of each entry of a parameter is in use: the sum of the probabilities of all choices whose slice holds it.
 * Slices are nested, so the coefficient of entry (o, i, …) is the product of one factor per group of axes that share no
 * decision: c_out[o] = Σ_{choices > o} p_out. Axes that share a decision (both axes of a kernel; hidden = ratio · width
 * beside width) have one factor over all of them, Σ_e u_e v_eᵀ. Axes of fixed size have none.
 * Ops: MatMul with constants of 0 and 1, Mul, ReduceSum: static shapes, no Pad and no Slice.
 */
export function coefficients(spec: ParameterSpec, probabilities: Probabilities): CoefficientPart[] {
  return groupAxes(spec.axes).map((group) => {
    const axes = group.map((index) => spec.axes[index]);
    const shape = spec.axes.map((axis, index) => (group.includes(index) ? largestSize(axis) : 1));
    return { axes: group, value: reshape(groupCoefficient(axes, probabilities), shape) };
  });
}

/** Axes that depend on decisions, in groups that share none. */
function groupAxes(axes: readonly Axis[]): number[][] {
  const groups: { axes: number[]; decisions: Set<string> }[] = [];
  for (const [index, axis] of axes.entries()) {
    const own = decisionsOf(axis).map(({ name }) => name);
    if (own.length === 0) continue;
    const joined = { axes: [index], decisions: new Set(own) };
    for (const group of [...groups]) {
      if (!own.some((name) => group.decisions.has(name))) continue;
      groups.splice(groups.indexOf(group), 1);
      joined.axes = [...group.axes, ...joined.axes].sort((a, b) => a - b);
      for (const name of group.decisions) joined.decisions.add(name);
    }
    groups.push(joined);
  }
  return groups.map((group) => group.axes);
}

/** One factor [size of each axis of the group]. */
function groupCoefficient(axes: readonly Axis[], probabilities: Probabilities): Value {
  const shared = sharedDecisions(axes);
  const dtype = probabilitiesOf(probabilities, decisionsOf(axes[0])[0]).dtype;
  const joint = (decisions: readonly Decision[]) =>
    jointProbabilities(
      decisions.map((each) => probabilitiesOf(probabilities, each)),
      dtype,
    );
  const together = jointChoices(shared);
  // One matrix [choices of the shared decisions, size] per axis; its own decisions are summed out.
  const factors = axes.map((axis) => {
    const own = decisionsOf(axis).filter(({ name }) => !shared.some((each) => each.name === name));
    const alone = jointChoices(own);
    const size = largestSize(axis);
    const inSlice = (row: number, column: number) => {
      const chosen = new Map([...together[Math.floor(row / size)], ...alone[column]]);
      const { start, end } = rangeOf(
        axis,
        sizeOf(axis, ({ name }) => chosen.get(name) as number),
      );
      return row % size >= start && row % size < end;
    };
    const mask = indicator(together.length * size, alone.length, dtype, inSlice);
    const summed = own.length === 0 ? mask : matMul(mask, reshape(joint(own), [alone.length, 1]));
    return reshape(summed, [together.length, size]);
  });
  const weighted = shared.length === 0 ? factors[0] : mul(factors[0], reshape(joint(shared), [together.length, 1]));
  if (axes.length === 1) return together.length === 1 ? weighted : reduceSum(weighted, [0], false);
  if (axes.length === 2) return matMul(transpose(weighted, [1, 0]), factors[1]);
  const spread = (value: Value, axis: number) =>
    reshape(value, [together.length, ...axes.map((each, i) => (i === axis ? largestSize(each) : 1))]);
  const outer = factors.slice(1).reduce((product, each, i) => mul(product, spread(each, i + 1)), spread(weighted, 0));
  return reduceSum(outer, [0], false);
}

/** Decisions that more than one axis depends on. */
function sharedDecisions(axes: readonly Axis[]): Decision[] {
  const all = axes.flatMap(decisionsOf);
  const shared = all.filter(({ name }, i) => all.findIndex((each) => each.name === name) < i);
  return [...new Map(shared.map((each) => [each.name, each])).values()];
}
