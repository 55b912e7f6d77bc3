import { add, div, softmax } from "@loomweight/graph";
import { LoomweightError, positive, type Random } from "@loomweight/tensor";
import { type Draw, defineSampler } from "../define-sampler.ts";
import { gumbelChoice } from "../relax/gumbel.ts";
import { straightThrough } from "../relax/one-hot.ts";
import { softmaxOf } from "../relax/softmax.ts";

/**
 * GDAS: one choice at a time, argmax(alpha + Gumbel noise); backward through softmax((alpha + noise) / tau), tau
 * falling linearly from epoch to epoch. Source: Dong and Yang 2019, arXiv:1910.04465.
 */
export const gdas = defineSampler({
  name: "gdas",
  source: "arXiv:1910.04465",
  summary: "One choice at a time by Gumbel-max, with the gradient of the relaxed choice.",
  options: {
    tauMax: positive(10, "temperature of the first epoch"),
    tauMin: positive(0.1, "temperature of the last epoch"),
  },
  build({ tauMax, tauMin }) {
    if (tauMin > tauMax) {
      throw new LoomweightError({
        code: "INVALID_OPTION",
        option: "gdas.tauMin",
        problem: "the temperature cannot rise",
        expected: `at most tauMax, ${tauMax}`,
        found: `${tauMin}`,
      });
    }
    return {
      hard: true,
      trains: true,
      inputs: ["gumbel", "tau", "hard"],
      draw: (alpha, random, { epoch, epochs }) =>
        drawGumbel(alpha, random, epochs < 2 ? tauMax : tauMax - ((tauMax - tauMin) * epoch) / (epochs - 1)),
      probabilities: (alpha, { gumbel, tau, hard }) => straightThrough(hard, softmax(div(add(alpha, gumbel), tau))),
      mean: softmaxOf,
    };
  },
});

/** Exp(1) noise for every choice; drawn again in the rare case that a uniform is 0. */
function drawGumbel(alpha: readonly number[], random: Random, tau: number): Draw {
  for (let attempt = 0; ; attempt++) {
    const exponentials = alpha.map((_, i) => -Math.log1p(-random.uniform(attempt * alpha.length + i)));
    if (attempt > 10 || exponentials.every((each) => each > 0 && Number.isFinite(each)))
      return gumbelChoice(alpha, exponentials, tau);
  }
}
