import { defineSampler } from "../define-sampler.ts";
import { oneHot } from "../relax/one-hot.ts";

/**
 * SPOS: one choice at a time, uniformly; alpha is not learned, and the architecture is searched for afterwards
 * (`bestArchitecture`). Source: Guo et al. 2020, arXiv:1904.00420.
 */
export const spos = defineSampler({
  name: "spos",
  source: "arXiv:1904.00420",
  summary: "One choice at a time, uniformly; the baseline that searches after training.",
  options: {},
  build: () => ({
    hard: true,
    trains: false,
    inputs: ["hard"],
    draw(alpha, random) {
      const index = Math.floor(random.uniform(0) * alpha.length);
      return { inputs: { hard: oneHot(alpha.length, index) }, index };
    },
    probabilities: (_, { hard }) => hard,
    mean: (alpha) => alpha.map(() => 1 / alpha.length),
  }),
});
