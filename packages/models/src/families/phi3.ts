import { add, mul, split, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { type Attended, attendPacked } from "../components/attention.ts";
import { type CausalDecoderConfig, causalDecoder, type DecoderLayer } from "../components/causal-decoder.ts";
import { embedding } from "../components/embeddings.ts";
import { linear } from "../components/linear.ts";
import { inside, type Module } from "../components/module.ts";
import { rmsNorm } from "../components/norms.ts";
import { decoderEmbedding, decoderHead, decoderHeadNames } from "../components/pre-norm-decoder.ts";
import { type Rope, readRope } from "../components/rope-config.ts";
import { type DecoderSizes, readDecoderSizes } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

interface Phi3Config extends DecoderSizes, CausalDecoderConfig {
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  readonly rope: Rope;
}

/**
 * Phi-3 and Phi-4: Llama with fused projections, [q; k; v] in `qkv_proj` and [gate; up] in `gate_up_proj`; `sliding_window`
 * counts in every layer; a part of each head may turn; rope scaling is longrope (in older files "su" or "yarn").
 * Source: Abdin et al. 2024, arXiv:2404.14219.
 */
export const phi3 = defineFamily<Phi3Config>({
  name: "phi3",
  source: "arXiv:2404.14219",
  modelTypes: ["phi3"],
  architectures: { Phi3ForCausalLM: "text-generation", Phi3Model: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "model.",
  unneeded: [/rotary_emb\.inv_freq$/],
  knownCode: ["Phi3Config", "Phi3ForCausalLM"],

  readConfig(config) {
    const sizes = readDecoderSizes(config, {
      vocab_size: 32064,
      hidden_size: 3072,
      intermediate_size: 8192,
      num_hidden_layers: 32,
      num_attention_heads: 32,
    });
    const window = config.has("sliding_window") ? config.size("sliding_window") : undefined;
    config.value("original_max_position_embeddings"); // only longrope reads it
    config.only("attention_bias", [false], "phi3 has no bias");
    const rope = readRope(config, { theta: 10000, partial: 1, aliases: { su: "longrope", yarn: "longrope" } });
    if (rope.type !== "default" && rope.type !== "longrope") {
      throw config.refuse("rope_scaling", "of the type longrope: phi3 has no other");
    }
    return {
      ...sizes,
      activation: readActivation(config, "hidden_act", "silu"),
      epsilon: config.number("rms_norm_eps", { default: 1e-5 }),
      tied: config.flag("tie_word_embeddings", false),
      rope,
      windows: Array.from({ length: sizes.layers }, () => window),
    };
  },

  headNames: decoderHeadNames,

  build(options) {
    const { config } = options;
    const { vocabSize, hiddenSize, epsilon } = config;
    return causalDecoder(options, {
      base: "model",
      layers: "layers",
      rope: () => config.rope,
      embed: (base, { inputIds }) => embedding(base, "embed_tokens", inputIds, [vocabSize, hiddenSize]),
      block: (module, x, place) => block(module, x, place, config),
      norm: (base, x) => rmsNorm(base, "norm", x, { size: hiddenSize, epsilon }),
      head: { name: decoderHead, embedding: decoderEmbedding },
    });
  },
});

/** x + attention(norm(x)), then x + mlp(norm(x)) */
function block(module: Module, x: Value, place: DecoderLayer, config: Phi3Config): Attended {
  const norm = { size: config.hiddenSize, epsilon: config.epsilon };
  const normedInput = rmsNorm(module, "input_layernorm", x, norm);
  const { output, present } = inside(module, "self_attn", (self) => attention(self, normedInput, place, config));
  const middle = add(x, output);
  const normedMiddle = rmsNorm(module, "post_attention_layernorm", middle, norm);
  return {
    output: add(
      middle,
      inside(module, "mlp", (inner) => mlp(inner, normedMiddle, config)),
    ),
    present,
  };
}

function attention(self: Module, x: Value, { layer, decoder, rotation }: DecoderLayer, config: Phi3Config): Attended {
  const { hiddenSize, heads, kvHeads, headDim } = config;
  const outFeatures = (heads + 2 * kvHeads) * headDim;
  const fused = linear(self, "qkv_proj", x, { inFeatures: hiddenSize, outFeatures, bias: false });
  const { output: mixed, present } = attendPacked(self, fused, decoder, rotation, { ...config, layer });
  return {
    output: linear(self, "o_proj", mixed, { inFeatures: heads * headDim, outFeatures: hiddenSize, bias: false }),
    present,
  };
}

/** down(up · activation(gate)) */
function mlp(module: Module, x: Value, { hiddenSize, intermediateSize, activation }: Phi3Config): Value {
  const widen = { inFeatures: hiddenSize, outFeatures: 2 * intermediateSize, bias: false };
  const [gate, up] = split(linear(module, "gate_up_proj", x, widen), 2, -1);
  const narrow = { inFeatures: intermediateSize, outFeatures: hiddenSize, bias: false };
  return linear(module, "down_proj", mul(up, activation(gate)), narrow);
}
