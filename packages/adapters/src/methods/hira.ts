import { add, div, matMul, mul } from "@loomweight/graph";
import { integer, type OptionValues } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import { lowRankFileShape, lowRankInit } from "../maths/low-rank.ts";
import { forwardPlus } from "../maths/update.ts";
import { dropout, note, option } from "../peft/field.ts";

const options = { rank: integer(32, "rank of the factors; the update's rank is up to that of the weight", { min: 1 }) };
const asLowRank = ({ rank }: OptionValues<typeof options>) => ({ rank, alpha: rank, rankStabilized: false });

/**
 * HiRA: W′ = W ∘ (1 + B A) for W [out, in], A [rank, in], B [out, rank]; ∘ multiplies entry by entry, so the update has
 * high rank. No scaling. Linear, GPT-2's Conv1D, embeddings and convolutions.
 * Source: Huang et al. 2025, ICLR, openreview TwJrTz9cRS. As PEFT computes it. Several in a row multiply one after the
 * other; PEFT's unmerged model takes each from the base weight.
 */
export const hira = defineAdapter({
  name: "hira",
  source: "openreview:TwJrTz9cRS",
  scope: "layer",
  kinds: ["linear", "transposedLinear", "embedding", "convolution"],
  options,
  params: (_layer, { rank }) => ({ A: [rank, "in"], B: ["out", rank] }),
  init: (layer, given, context) => lowRankInit(layer, asLowRank(given), context),
  apply: (layer, { A, B }, x) => forwardPlus(layer, mul(layer.weight, matMul(B, A)), x),
  weight: (layer, { A, B }) => mul(layer.weight, add(matMul(B, A), 1)),
  original: (layer, { A, B }) => div(layer.weight, add(matMul(B, A), 1)),
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["HIRA"],
    fields: {
      fan_in_fan_out: option(false),
      hira_dropout: dropout,
      init_weights: note(true),
      r: option(32),
      rank_pattern: option({}),
    },
    optionFields: { rank: "r" },
    patterns: { rank_pattern: "rank" },
    suffixes: {
      hira_A: { param: "A" },
      hira_B: { param: "B" },
      hira_embedding_A: { param: "A", kind: "embedding" },
      hira_embedding_B: { param: "B", kind: "embedding" },
    },
    fileShape: (param, layer, given) => lowRankFileShape(param, layer, asLowRank(given)),
    biasOfAdapted: [],
  },
});

/** Options of `hira`, checked. */
export type HiraOptions = OptionValues<typeof options>;
