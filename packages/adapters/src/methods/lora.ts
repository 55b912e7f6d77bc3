import { add, mul, sub } from "@loomweight/graph";
import { boolean, choice, type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import { loraStarts, startFactors, takenFromBase } from "../initialise/low-rank-start.ts";
import {
  addLowRank,
  lowRankFileShape,
  lowRankForward,
  lowRankOptions,
  lowRankScale,
  lowRankShapes,
  requireUngrouped,
} from "../maths/low-rank.ts";
import {
  givenAsPlain,
  loraCompanions,
  loraFields,
  lowRankFields,
  lowRankSuffixes,
  readStart,
  startWarnings,
  writtenStart,
} from "../peft/lora-files.ts";

const options = {
  ...lowRankOptions,
  outputBias: boolean(false, "B also has a bias [out], added to the layer's, scaled like the update"),
  init: choice(
    loraStarts,
    "uniform",
    "how the factors start; pissa, olora and given take their product out of the base",
  ),
};

/**
 * LoRA: W′ = W + s · B A for a weight W [out, in], A [rank, in], B [out, rank], s = alpha / rank (rsLoRA: alpha / √rank);
 * b′ = b + s · outputBias. Linear, GPT-2's Conv1D, embeddings (of [in, out] = [tokens, width]) and convolutions.
 * PiSSA, OLoRA and given factors: W′ = W − s · takenB takenA + s · B A with what the initialisation took out of the base.
 * Source: Hu et al. 2021, arXiv:2106.09685, §4.1; rsLoRA: Kalajdzievski 2023, arXiv:2312.03732. As PEFT computes it.
 * Differs: folded in float64 with one rounding; PEFT rounds the update or the sum in the weights' dtype.
 */
export const lora = defineAdapter({
  name: "lora",
  source: "arXiv:2106.09685",
  scope: "layer",
  kinds: ["linear", "transposedLinear", "embedding", "convolution"],
  options,
  params: (layer, given) => ({
    ...lowRankShapes(given, layer),
    ...(given.outputBias && layer.kind !== "embedding" ? { outputBias: ["out" as const] } : {}),
  }),
  prepared: (_layer, { rank }) => ({ takenA: [rank, "in"], takenB: ["out", rank] }),
  prepare: async (layer, { A, B }, given, { weight }) => {
    if (given.init === "given") return { takenA: A, takenB: B };
    if (given.init !== "pissa" && given.init !== "olora") return {};
    const taken = takenFromBase(layer, await weight(), given.init, given);
    return taken === undefined ? {} : { takenA: taken.A, takenB: taken.B };
  },
  init: (layer, given, context) => ({
    ...startFactors(layer, given.init, given, context),
    ...(given.outputBias && layer.kind !== "embedding" ? { outputBias: zeros([layer.out]) } : {}),
  }),
  apply: (layer, { A, B, outputBias, takenA, takenB }, x, given) => {
    const own = lowRankForward(layer, { A, B }, x, given);
    const update = takenA === undefined ? own : sub(own, lowRankForward(layer, { A: takenA, B: takenB }, x, given));
    const shifted = outputBias === undefined ? update : add(update, layer.perOutput(outputBias));
    return add(layer.forward(x), mul(shifted, lowRankScale(given)));
  },
  weight: (layer, { A, B, takenA, takenB }, given) => {
    requireUngrouped(layer);
    const scale = lowRankScale(given);
    const rest = takenA === undefined ? layer.weight : addLowRank(layer.weight, { A: takenA, B: takenB }, -scale);
    return addLowRank(rest, { A, B }, scale);
  },
  bias: {
    needs: ["outputBias"],
    change: (bias, _layer, { outputBias }, given) => add(bias, mul(outputBias, lowRankScale(given))),
    original: (bias, _layer, { outputBias }, given) => sub(bias, mul(outputBias, lowRankScale(given))),
  },
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["LORA"],
    applies: (config) => config.use_dora !== true && config.kasa_config == null && config.use_bdlora == null,
    fields: loraFields,
    optionFields: { ...lowRankFields, outputBias: "lora_bias", init: "init_lora_weights" },
    readOptions: (config, file) => ({ init: readStart(config, file) }),
    warnings: startWarnings,
    writeOptions: ({ init }) => ({ init_lora_weights: writtenStart(init) }),
    patterns: { rank_pattern: "rank", alpha_pattern: "alpha" },
    converted: givenAsPlain,
    suffixes: { ...lowRankSuffixes, "lora_B.bias": { param: "outputBias" } },
    companions: loraCompanions,
    singleParameters: true,
    fileShape: lowRankFileShape,
    biasOfAdapted: ["lora_only"],
  },
});

/** Options of `lora`, checked. */
export type LoraOptions = OptionValues<typeof options>;
