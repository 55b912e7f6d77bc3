import { add } from "@loomweight/graph";
import { finite, full, integer, type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import { addLowRank, lowRankForward } from "../maths/low-rank.ts";
import { drawProjections, largestLayer, leading, scaledFactors } from "../maths/projections.ts";
import { dropout, note, option } from "../peft/field.ts";

const options = {
  rank: integer(256, "rank of the projections that all layers share", { min: 1 }),
  initial: finite(0.1, "value at which the trained scale of each direction starts"),
  seed: integer(0, "seed of the projections, where a file does not hold them"),
};

/**
 * VeRA: W′ = W + diag(outputScale) B diag(rankScale) A for a weight W [out, in]. A [rank, largest in] and
 * B [largest out, rank] are random, frozen and common to all layers, which use their leading parts; a layer trains
 * rankScale [rank] and outputScale [out]. No scaling by alpha.
 * Source: Kopiczko et al. 2023, arXiv:2310.11454. As PEFT computes it, PyTorch's random numbers included.
 */
export const vera = defineAdapter({
  name: "vera",
  source: "arXiv:2310.11454",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  frozen: ["sharedA", "sharedB"],
  params: (_layer, { rank }) => ({ outputScale: ["out"], rankScale: [rank] }),
  shared: (layers, { rank }, random) => {
    const most = largestLayer(layers);
    const uniform = (name: string, shape: [number, number], fanIn: number) =>
      random.uniform(name, shape, -Math.sqrt(6 / fanIn), Math.sqrt(6 / fanIn));
    return {
      vera_A: uniform("vera_A", [rank, most.in], most.in),
      vera_B: uniform("vera_B", [most.out, rank], rank),
    };
  },
  sharedParams: (_layer, { rank }) => ({
    sharedA: { key: "vera_A", shape: [rank, null], optional: true },
    sharedB: { key: "vera_B", shape: [null, rank], optional: true },
  }),
  prepared: (_layer, { rank }) => ({ A: [rank, "in"], B: ["out", rank] }),
  prepare: (layer, { sharedA, sharedB }, { rank, seed }, { layers }) => {
    const [A, B] =
      sharedA !== undefined && sharedB !== undefined
        ? [sharedA, sharedB]
        : drawProjections(seed, largestLayer(layers), rank, rank);
    return { A: leading("vera_A", A, 1, layer.in), B: leading("vera_B", B, 0, layer.out) };
  },
  init: (layer, { rank, initial }) => ({
    outputScale: zeros([layer.out]), // zero, so training starts at the base model
    rankScale: full([rank], initial),
  }),
  apply: (layer, params, x, { rank }) =>
    add(layer.forward(x), lowRankForward(layer, scaledFactors(params), x, { rank })),
  weight: (layer, params) => addLowRank(layer.weight, scaledFactors(params), 1),
  additive: true,
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["VERA"],
    fields: {
      d_initial: option(0.1, { float: true }),
      fan_in_fan_out: option(false),
      init_weights: note(true),
      projection_prng_key: option(0),
      r: option(256),
      save_projection: note(true),
      vera_dropout: dropout,
    },
    optionFields: { rank: "r", initial: "d_initial", seed: "projection_prng_key" },
    suffixes: { vera_lambda_b: { param: "outputScale" }, vera_lambda_d: { param: "rankScale" } },
    shared: ["vera_A", "vera_B"],
    biasOfAdapted: ["vera_only"],
  },
});

/** Options of `vera`, checked. */
export type VeraOptions = OptionValues<typeof options>;
