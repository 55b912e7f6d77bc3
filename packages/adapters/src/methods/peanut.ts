import { add, gelu, leakyRelu, matMul, mul, relu, sigmoid, swish, tanh, type Value } from "@loomweight/graph";
import { choice, finite, integer, type OptionValues, type Tensor, zeros } from "@loomweight/tensor";
import { defineAdapter, type ParamShape, type Params } from "../define.ts";
import { forwardPlus, kaimingUniform } from "../maths/update.ts";
import { note, option } from "../peft/field.ts";

/** By the names that transformers gives them. */
const activations: Readonly<Record<string, (x: Value) => Value>> = {
  relu: (x) => relu(x),
  gelu: (x) => gelu(x),
  gelu_new: (x) => gelu(x, "tanh"),
  gelu_pytorch_tanh: (x) => gelu(x, "tanh"),
  leaky_relu: (x) => leakyRelu(x),
  linear: (x) => x,
  sigmoid: (x) => sigmoid(x),
  silu: (x) => swish(x),
  swish: (x) => swish(x),
  tanh: (x) => tanh(x),
};

const options = {
  rank: integer(32, "width of the network", { min: 1 }),
  depth: integer(0, "pairs of inner layers", { min: 0 }),
  activation: choice(
    ["relu", "gelu", "gelu_new", "gelu_pytorch_tanh", "leaky_relu", "linear", "sigmoid", "silu", "swish", "tanh"],
    "relu",
    "between the layers of the network, by transformers' names",
  ),
  scaling: finite(1, "scale of the update"),
};
type PeanutOptions = OptionValues<typeof options>;

/**
 * PEANuT: a small network makes the update from the weight itself, column by column: with h = act(A W) [rank, in], then
 * `depth` times h = act(encoderᵢ h), then as often h = act(decoderᵢ h) + (h before encoder depth − 1 − i):
 * W′ = W + scaling · B h, A [rank, out], B [out, rank], encoders and decoders [rank, rank].
 * Source: Zhong et al. 2024, arXiv:2410.01870. As PEFT computes it.
 */
export const peanut = defineAdapter({
  name: "peanut",
  source: "arXiv:2410.01870",
  scope: "layer",
  kinds: ["linear"],
  options,
  params: (_layer, { rank, depth }): Readonly<Record<string, ParamShape>> => {
    const shapes: Record<string, ParamShape> = { A: [rank, "out"], B: ["out", rank] };
    for (let i = 0; i < depth; i++) {
      shapes[`encoder${i}`] = [rank, rank];
      shapes[`decoder${i}`] = [rank, rank];
    }
    return shapes;
  },
  init: (layer, { rank, depth }, { random }) => {
    const fresh: Record<string, Tensor> = {
      A: kaimingUniform(random, "A", [rank, layer.out], layer.out),
      B: zeros([layer.out, rank]), // zero, so training starts at the base model
    };
    for (let i = 0; i < depth; i++) {
      for (const name of [`encoder${i}`, `decoder${i}`]) fresh[name] = kaimingUniform(random, name, [rank, rank], rank);
    }
    return fresh;
  },
  apply: (layer, params, x, given) => forwardPlus(layer, update(layer.weight, params, given), x),
  weight: (layer, params, given) => add(layer.weight, update(layer.weight, params, given)),
  // The network reads whole columns.
  tiling: () => ({ in: 1 }),
  files: {
    peftTypes: ["PEANUT"],
    fields: {
      act_fn: option("relu"),
      depth: option(0),
      init_weights: note(true),
      r: option(32),
      scaling: option(1, { float: true }),
    },
    optionFields: { rank: "r", depth: "depth", activation: "act_fn", scaling: "scaling" },
    suffixes: {
      "peanut_A.weight": { param: "A" },
      "peanut_B.weight": { param: "B" },
      "peanut_encoders.#.weight": { param: "encoder#" },
      "peanut_decoders.#.weight": { param: "decoder#" },
    },
    biasOfAdapted: [],
  },
});

/** Options of `peanut`, checked. */
export type { PeanutOptions };

function update(weight: Value, params: Params, { depth, activation, scaling }: PeanutOptions): Value {
  const act = activations[activation];
  let hidden = act(matMul(params.A, weight));
  const before: Value[] = [];
  for (let i = 0; i < depth; i++) {
    before.push(hidden);
    hidden = act(matMul(params[`encoder${i}`], hidden));
  }
  for (let i = 0; i < depth; i++) {
    hidden = add(act(matMul(params[`decoder${i}`], hidden)), before[depth - 1 - i]);
  }
  return matMul(mul(params.B, scaling), hidden);
}
