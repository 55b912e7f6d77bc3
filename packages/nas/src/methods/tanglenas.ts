import { defineNasMethod } from "../define.ts";
import { searchOptions } from "../search/options.ts";
import { startSearch } from "../search/search.ts";

/**
 * TangleNAS: widths, kernels, heads, depth and operations learned by gradient while the largest network of the space is
 * trained once. All networks share its weights (a smaller one has leading or middle slices of them); every layer
 * computes with Σ_j p_j pad(slice_j(W)), one call whatever the number of choices. Alpha and weights take steps in turn,
 * on two splits of the data.
 * Source: Sukthanker et al. 2024, arXiv:2312.10440. Differs: normalizations and attention are mixed explicitly, so that
 * a choice of probability 1 is the extracted network; `layerNorm` and `attention: "superpose"` are the reference's.
 */
export const tanglenas = defineNasMethod({
  name: "tanglenas",
  source: "arXiv:2312.10440",
  summary: "Learns the architecture by gradient while the largest network is trained, on entangled weights.",
  options: searchOptions,
  start: startSearch,
});
