import { add, div, mul, reduceSum, sqrt, sub, type Value } from "@loomweight/graph";
import {
  indicator,
  jointChoices,
  jointProbabilities,
  type Probabilities,
  probabilitiesOf,
} from "../entangle/probabilities.ts";
import { type Axis, decisionsOf, largestSize, sizeOf } from "../space/axis.ts";
import { pick } from "./pick.ts";

/**
 * Σ_j p_j pad((x[:d_j] − mean_j) / √(variance_j + ε)) over the choices d_j of the last axis of x, each with the
 * statistics of its own width; RMS normalization where `centre` is false. Weight and bias are superposed, so
 * `weight · this` with the largest weight and `superposed bias` complete it: pad(LN_j) has weight[:d_j] and bias[:d_j].
 */
export function normalizeWidths(
  x: Value,
  axis: Axis,
  probabilities: Probabilities,
  { epsilon, centre }: { readonly epsilon: number; readonly centre: boolean },
): Value {
  const decisions = decisionsOf(axis);
  const last = [x.shape.length - 1];
  const joint = jointProbabilities(
    decisions.map((each) => probabilitiesOf(probabilities, each)),
    x.dtype,
  );
  const width = largestSize(axis);
  const parts = jointChoices(decisions).map((chosen, j) => {
    const size = sizeOf(axis, ({ name }) => chosen.get(name) as number);
    const mask = indicator(1, width, x.dtype, (_, column) => column < size);
    const own = mul(x, mask);
    const shifted = centre ? mul(sub(own, div(reduceSum(own, last), size)), mask) : own;
    const variance = div(reduceSum(mul(shifted, shifted), last), size);
    return mul(div(shifted, sqrt(add(variance, epsilon))), pick(joint, j));
  });
  return parts.reduce((sum, part) => add(sum, part));
}
