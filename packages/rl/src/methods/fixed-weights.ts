import { defineRewardWeighting } from "../define.ts";

/** The same weights at every step: the baseline of all weightings. */
export const fixedWeights = defineRewardWeighting({
  name: "fixed-weights",
  source: "the baseline of arXiv:2509.11452",
  summary: "Keeps the weights that it starts from.",
  options: {},
  needs: [],
  init: ({ weights }) => ({ weights: [...weights] }),
  observe: (state) => state,
  mix: ({ weights }) => ({ weights, rewardFactor: 1, advantageFactor: 1 }),
});
