import { add, customGradient, exp, greater, min, mul, reduceSum, sub, where } from "@loomweight/graph";
import { dirichlet } from "@loomweight/tensor";
import { defineSampler } from "../define-sampler.ts";
import { dirichletSlopes } from "../relax/dirichlet-slope.ts";

const concentrationOf = (alpha: number) => (alpha > 0 ? alpha + 1 : Math.exp(alpha));

/**
 * DrNAS: p ~ Dirichlet(elu(alpha) + 1), drawn anew at every forward pass; gradients are those of implicit
 * reparameterization. Source: Chen et al. 2021, arXiv:2006.10355. Differs: no term that pulls alpha to 0, as in the code
 * of TangleNAS.
 */
export const drnas = defineSampler({
  name: "drnas",
  source: "arXiv:2006.10355",
  summary: "All choices at once, weighed by a fresh Dirichlet sample.",
  options: {},
  build: () => ({
    hard: false,
    trains: true,
    inputs: ["sample", "slope"],
    draw(alpha, random) {
      const concentrations = alpha.map(concentrationOf);
      const sample = dirichlet(concentrations, random);
      return { inputs: { sample, slope: dirichletSlopes(sample, concentrations) } };
    },
    probabilities(alpha, { sample, slope }) {
      const along = (dy: typeof alpha) => mul(slope, sub(dy, reduceSum(mul(sample, dy), [0])));
      return customGradient(
        [where(greater(alpha, 0), add(alpha, 1), exp(min(alpha, 0)))],
        () => sample,
        (dy) => [along(dy)],
      );
    },
    mean(alpha) {
      const concentrations = alpha.map(concentrationOf);
      const total = concentrations.reduce((sum, each) => sum + each, 0);
      return concentrations.map((each) => each / total);
    },
  }),
});
