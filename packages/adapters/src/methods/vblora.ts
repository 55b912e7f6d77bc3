import {
  add,
  concat,
  gather,
  mul,
  reduceSum,
  reshape,
  softmax,
  sub,
  topK,
  transpose,
  unsqueeze,
  type Value,
} from "@loomweight/graph";
import { boolean, integer, LoomweightError, type OptionValues, positive } from "@loomweight/tensor";
import { defineAdapter, type ParamShape } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { addLowRank, lowRankForward } from "../maths/low-rank.ts";
import { dropout, option } from "../peft/field.ts";

const options = {
  rank: integer(4, "rank of the update", { min: 1 }),
  vectors: integer(256, "vectors in the bank", { min: 1 }),
  length: integer(256, "length of a vector; must divide in and out of every layer", { min: 1 }),
  top: integer(2, "vectors that are mixed into one part of a factor", { min: 1 }),
  onlyTop: boolean(false, "the file holds the chosen vectors and their weights instead of logits"),
  bound: positive(0.02, "the bank starts uniform in ± bound"),
  deviation: positive(0.1, "standard deviation of the first logits"),
};
type VbLoraOptions = OptionValues<typeof options>;

/**
 * VB-LoRA: W′ = W + B A for a weight W [out, in]. Both factors are made of parts of `length` numbers, and a part is a mix
 * of the `top` vectors of a bank [vectors, length], common to all layers, with the largest logits, weighted by their
 * softmax. A layer trains logitsA [rank, in / length, vectors] and logitsB [out / length, rank, vectors]. No scaling.
 * A file for use only holds the indices of the chosen vectors and all but the last of their weights, which sum to 1.
 * Source: Li et al. 2024, arXiv:2405.15179. As PEFT computes it. A fresh adapter changes the layer a little.
 */
export const vblora = defineAdapter({
  name: "vblora",
  source: "arXiv:2405.15179",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  params: (layer, given) => {
    const { onlyTop, top, vectors } = given;
    const { A, B } = parts(layer, given);
    return onlyTop
      ? { indicesA: [...A, top], indicesB: [...B, top], weightsA: [...A, top - 1], weightsB: [...B, top - 1] }
      : { logitsA: [...A, vectors], logitsB: [...B, vectors] };
  },
  shared: (_layers, { bound, length, vectors }, random) => ({
    vblora_vector_bank: random.uniform("vblora_vector_bank", [vectors, length], -bound, bound),
  }),
  sharedParams: (_layer, { length, vectors }) => ({
    bank: { key: "vblora_vector_bank", shape: [vectors, length] },
  }),
  fresh: ({ onlyTop }) => (onlyTop ? "none" : "near"), // its factors start at small random mixes
  init: (layer, { deviation, length, onlyTop, rank, vectors }, { random }) => {
    if (onlyTop) {
      throw new LoomweightError({
        code: "INVALID_OPTION",
        problem: "an adapter that holds only chosen vectors cannot be trained",
        option: "vblora.onlyTop",
        expected: "false",
      });
    }
    return {
      logitsA: random.normal("logitsA", [rank, layer.in / length, vectors], deviation),
      logitsB: random.normal("logitsB", [layer.out / length, rank, vectors], deviation),
    };
  },
  apply: (layer, params, x, given) =>
    add(layer.forward(x), lowRankForward(layer, factors(params, given), x, { rank: given.rank })),
  weight: (layer, params, given) => addLowRank(layer.weight, factors(params, given), 1),
  additive: true,
  tiling: (_layer, { length }) => ({ out: length, in: length }),
  files: {
    peftTypes: ["VBLORA"],
    fields: {
      fan_in_fan_out: option(false),
      init_logits_std: option(0.1, { float: true }),
      init_vector_bank_bound: option(0.02, { float: true }),
      num_vectors: option(256),
      r: option(4),
      save_only_topk_weights: option(false),
      topk: option(2),
      vblora_dropout: dropout,
      vector_length: option(256),
    },
    optionFields: {
      rank: "r",
      vectors: "num_vectors",
      length: "vector_length",
      top: "topk",
      onlyTop: "save_only_topk_weights",
      bound: "init_vector_bank_bound",
      deviation: "init_logits_std",
    },
    suffixes: {
      vblora_logits_A: { param: "logitsA" },
      vblora_logits_B: { param: "logitsB" },
      vblora_logits_A_topk_indices: { param: "indicesA", integer: true },
      vblora_logits_B_topk_indices: { param: "indicesB", integer: true },
      vblora_logits_A_topk_weights: { param: "weightsA" },
      vblora_logits_B_topk_weights: { param: "weightsB" },
    },
    shared: ["vblora_vector_bank"],
    biasOfAdapted: ["vblora_only"],
  },
});

/** Parts of the two factors: [rank, in / length] and [out / length, rank]. */
function parts(layer: LayerShape, { length, rank, top, vectors }: VbLoraOptions): { A: ParamShape; B: ParamShape } {
  const wrong =
    layer.in % length !== 0 || layer.out % length !== 0
      ? { option: "vblora.length", expected: `a divisor of ${layer.in} and ${layer.out}`, found: String(length) }
      : top > vectors
        ? { option: "vblora.top", expected: `at most vectors (${vectors})`, found: String(top) }
        : undefined;
  if (wrong !== undefined)
    throw new LoomweightError({ code: "INVALID_OPTION", problem: "the bank does not fit the layer", ...wrong });
  return { A: [rank, { along: "in", per: length }], B: [{ along: "out", per: length }, rank] };
}

/** A [rank, in] and B [out, rank]. */
function factors(params: Readonly<Record<string, Value>>, given: VbLoraOptions): { A: Value; B: Value } {
  const { rank } = given;
  const A = mixed(params.bank, params.logitsA, params.indicesA, params.weightsA, given);
  const B = mixed(params.bank, params.logitsB, params.indicesB, params.weightsB, given);
  return { A: reshape(A, [rank, -1]), B: reshape(transpose(B, [0, 2, 1]), [-1, rank]) };
}

/** The mix of vectors for every part, [..., length]. */
function mixed(
  bank: Value,
  logits: Value | undefined,
  indices: Value | undefined,
  weights: Value | undefined,
  { top }: VbLoraOptions,
): Value {
  if (logits !== undefined) {
    const chosen = topK(logits, top);
    return weightedSum(bank, chosen.indices, softmax(chosen.values));
  }
  const [known, of] = [weights as Value, indices as Value];
  const last = sub(1, reduceSum(known, [-1], true));
  return weightedSum(bank, of, concat([known, last], 2));
}

function weightedSum(bank: Value, indices: Value, weights: Value): Value {
  return reduceSum(mul(gather(bank, indices), unsqueeze(weights, [-1])), [2], false);
}

/** Options of `vblora`, checked. */
export type { VbLoraOptions };
