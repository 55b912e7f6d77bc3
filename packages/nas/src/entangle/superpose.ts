import { mul, reduceSum, type Value } from "@loomweight/graph";
import { shapeMismatch } from "@loomweight/tensor";
import { largestShape, type ParameterSpec } from "../space/space.ts";
import { coefficients } from "./coefficients.ts";
import { type Probabilities, probabilitiesOf } from "./probabilities.ts";

/**
 * Weight superposition: W_mix = Σ_j p_j pad(slice_j(W)) over all joint choices j, of the shape of W, as W · coefficients.
 * Layers are linear in their weights, so one call with W_mix gives the probability-weighted sum of the outputs of all
 * choices. Throws `SHAPE_MISMATCH`.
 */
export function superpose(weight: Value, spec: ParameterSpec, probabilities: Probabilities, name = "weight"): Value {
  const shape = largestShape(spec);
  if (`${weight.shape}` !== `${shape}`) {
    throw shapeMismatch({
      where: "superpose",
      tensor: name,
      expected: { from: "the space", shape },
      got: { from: "the weight", shape: weight.shape },
    });
  }
  // Small factors first: only the last product passes over the whole weight.
  const parts = coefficients(spec, probabilities).map(({ value }) => value);
  // Sums that are 1, but pass gradients on where only the chosen entry of a one-hot choice does.
  for (const decision of spec.joint ?? []) parts.push(reduceSum(probabilitiesOf(probabilities, decision), [0]));
  return parts.length === 0
    ? weight
    : mul(
        weight,
        parts.reduce((all, part) => mul(all, part)),
      );
}
