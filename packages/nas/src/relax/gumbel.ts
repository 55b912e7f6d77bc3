import { LoomweightError } from "@loomweight/tensor";
import type { Draw } from "../define-sampler.ts";
import { oneHot } from "./one-hot.ts";

/**
 * The choice of one Gumbel-max draw: argmax(alpha + g), g = −log(e) with e ~ Exp(1), and what the graph needs for its
 * relaxation softmax((alpha + g) / tau). Throws `NON_FINITE` for draws that are not finite; the caller draws again.
 */
export function gumbelChoice(alpha: readonly number[], exponentials: readonly number[], tau: number): Draw {
  const gumbel = exponentials.map((each) => -Math.log(each));
  const scores = alpha.map((each, i) => each + gumbel[i]);
  if (!scores.every(Number.isFinite)) {
    throw new LoomweightError({
      code: "NON_FINITE",
      problem: "gdas: alpha or its noise is not finite",
      found: `alpha ${alpha.join(", ")}; noise ${gumbel.join(", ")}`,
    });
  }
  const index = scores.indexOf(Math.max(...scores));
  return { inputs: { gumbel, tau: alpha.map(() => tau), hard: oneHot(alpha.length, index) }, index };
}
