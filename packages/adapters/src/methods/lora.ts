import { add, mul } from "@loomweight/graph";
import { boolean, type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import {
  addLowRank,
  lowRankFileShape,
  lowRankForward,
  lowRankInit,
  lowRankOptions,
  lowRankScale,
  lowRankShapes,
} from "../low-rank.ts";
import { checkInitialisation, loraFields, lowRankFields, lowRankSuffixes } from "../peft/lora-files.ts";

/**
 * LoRA: W′ = W + s · B A for a weight W [out, in], A [rank, in], B [out, rank], s = alpha / rank (rsLoRA: alpha / √rank);
 * b′ = b + s · outputBias. Linear, GPT-2's Conv1D, embeddings (of [in, out] = [tokens, width]) and convolutions.
 * Source: Hu et al. 2021, arXiv:2106.09685, §4.1; rsLoRA: Kalajdzievski 2023, arXiv:2312.03732. As PEFT computes it.
 * Differs: folded in float64 with one rounding; PEFT rounds the update or the sum in the weights' dtype.
 */
export const lora = defineAdapter({
  name: "lora",
  source: "arXiv:2106.09685",
  scope: "layer",
  kinds: ["linear", "transposedLinear", "embedding", "convolution"],
  options: {
    ...lowRankOptions,
    outputBias: boolean(false, "B also has a bias [out], added to the layer's, scaled like the update"),
  },
  params: (layer, options) => ({
    ...lowRankShapes(options),
    ...(options.outputBias && layer.kind !== "embedding" ? { outputBias: ["out" as const] } : {}),
  }),
  init: (layer, options, context) => ({
    ...lowRankInit(layer, options, context),
    ...(options.outputBias && layer.kind !== "embedding" ? { outputBias: zeros([layer.out]) } : {}),
  }),
  apply: (layer, { A, B, outputBias }, x, options) => {
    const update = lowRankForward(layer, { A, B }, x, options);
    const shifted = outputBias === undefined ? update : add(update, layer.perOutput(outputBias));
    return add(layer.forward(x), mul(shifted, lowRankScale(options)));
  },
  weight: (layer, { A, B }, options) => addLowRank(layer.weight, { A, B }, lowRankScale(options)),
  bias: {
    needs: ["outputBias"],
    change: (bias, _layer, { outputBias }, options) => add(bias, mul(outputBias, lowRankScale(options))),
  },
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["LORA"],
    applies: (config) => config.use_dora !== true,
    fields: loraFields,
    optionFields: { ...lowRankFields, outputBias: "lora_bias" },
    readOptions: (config, file) => {
      checkInitialisation(config, file);
      return {};
    },
    patterns: { rank_pattern: "rank", alpha_pattern: "alpha" },
    suffixes: { ...lowRankSuffixes, "lora_B.bias": { param: "outputBias" } },
    fileShape: lowRankFileShape,
    biasOfAdapted: ["lora_only"],
  },
});

/** Options of `lora`, checked. */
export type LoraOptions = OptionValues<typeof lora.options>;
