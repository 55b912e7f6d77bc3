import { add, mul, reshape, slice, sub, type Value } from "@loomweight/graph";
import { svd } from "@loomweight/linalg";
import { LoomweightError, type OptionValues, type Tensor } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import {
  addLowRank,
  lowRankForward,
  lowRankInit,
  lowRankOptions,
  lowRankScale,
  lowRankShapes,
} from "../maths/low-rank.ts";
import { loraCompanions, loraFields, lowRankFields, lowRankSuffixes, requirePlainStart } from "../peft/lora-files.ts";

/**
 * KaSA: W′ = W − smallest(W) + s · B diag(d) A for a weight W [out, in]: the rank smallest singular directions of the base
 * are taken out for good, A [rank, in], d [rank] and B [out, rank] are trained; s as LoRA's.
 * Source: Wang et al. 2024, arXiv:2412.06071. As PEFT computes it; its penalties belong to training.
 * Differs: a fresh adapter is not the base, which has lost its smallest directions.
 */
export const kasa = defineAdapter({
  name: "kasa",
  source: "arXiv:2412.06071",
  scope: "layer",
  kinds: ["linear"],
  options: lowRankOptions,
  params: (layer, options) => {
    const most = Math.min(layer.in, layer.out);
    if (options.rank < most) return { ...lowRankShapes(options), diagonal: [options.rank] };
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "kasa takes rank directions out of the layer's weight and leaves at least one",
      option: "kasa.rank",
      expected: `below ${most}`,
      found: String(options.rank),
    });
  },
  prepared: (_layer, { rank }) => ({ lostA: [rank, "in"], lostB: ["out", rank] }),
  prepare: async (_layer, _params, { rank }, context) => {
    const { u, singularValues, vt } = svd(await context.weight());
    const count = singularValues.shape[0];
    const last = (values: Tensor, axis: number) =>
      slice(values, { starts: [count - rank], ends: [count], axes: [axis] }) as Tensor;
    return { lostA: last(vt, 0), lostB: mul(last(u, 1), last(singularValues, 0)) as Tensor };
  },
  fresh: () => "near", // the base loses its smallest directions
  init: (layer, options, context) => ({
    ...lowRankInit(layer, options, context),
    diagonal: context.random.normal("diagonal", [options.rank], 1),
  }),
  apply: (layer, params, x, options) => {
    const update = mul(lowRankForward(layer, trained(params), x, options), lowRankScale(options));
    const lost = lowRankForward(layer, { A: params.lostA, B: params.lostB }, x, options);
    return add(layer.forward(x), sub(update, lost));
  },
  weight: (layer, params, options) => {
    const rest = addLowRank(layer.weight, { A: params.lostA, B: params.lostB }, -1);
    return addLowRank(rest, trained(params), lowRankScale(options));
  },
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["LORA"],
    applies: (config) => config.kasa_config != null && config.use_dora !== true,
    fields: loraFields,
    optionFields: lowRankFields,
    readOptions: (config, file) => {
      requirePlainStart(config, file, "KaSA");
      return {};
    },
    writeOptions: () => ({ kasa_config: { beta: 1e-4, gamma: 1e-3 } }),
    patterns: { rank_pattern: "rank", alpha_pattern: "alpha" },
    suffixes: { ...lowRankSuffixes, lora_diag: { param: "diagonal" } },
    companions: loraCompanions,
    biasOfAdapted: ["lora_only"],
  },
});

/** diag(d) A and B. */
function trained({ A, B, diagonal }: Readonly<Record<"A" | "B" | "diagonal", Value>>): { A: Value; B: Value } {
  return { A: mul(A, reshape(diagonal, [-1, 1])), B };
}

/** Options of `kasa`, checked. */
export type KasaOptions = OptionValues<typeof lowRankOptions>;
