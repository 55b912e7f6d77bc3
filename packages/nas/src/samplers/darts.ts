import { softmax } from "@loomweight/graph";
import { choice } from "@loomweight/tensor";
import { defineSampler } from "../define-sampler.ts";
import { softmaxOf } from "../relax/softmax.ts";
import { sparsemax, sparsemaxOf } from "../relax/sparsemax.ts";

/**
 * DARTS: p = softmax(alpha), every choice at once. `sparsemax` gives exact zeros, as the code of TangleNAS has it.
 * Source: Liu et al. 2019, arXiv:1806.09055.
 */
export const darts = defineSampler({
  name: "darts",
  source: "arXiv:1806.09055",
  summary: "All choices at once, weighed by the softmax of alpha.",
  options: { relaxation: choice(["softmax", "sparsemax"], "softmax", "how alpha becomes probabilities") },
  build: ({ relaxation }) => ({
    hard: false,
    trains: true,
    inputs: [],
    draw: () => ({ inputs: {} }),
    probabilities: (alpha) => (relaxation === "softmax" ? softmax(alpha) : sparsemax(alpha)),
    mean: (alpha) => (relaxation === "softmax" ? softmaxOf(alpha) : sparsemaxOf(alpha)),
  }),
});
