import { add, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { type Attended, attendProjected } from "../components/attention.ts";
import { type CausalDecoderConfig, causalDecoder, type DecoderLayer } from "../components/causal-decoder.ts";
import { embedding } from "../components/embeddings.ts";
import { linear } from "../components/linear.ts";
import { plainMlp } from "../components/mlp.ts";
import { inside, type Module } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { decoderEmbedding, decoderHead, decoderHeadNames } from "../components/pre-norm-decoder.ts";
import { type Rope, readRope } from "../components/rope-config.ts";
import { type DecoderSizes, readDecoderSizes } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

interface PhiConfig extends DecoderSizes, CausalDecoderConfig {
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  /** LayerNorm over each query and key head. */
  readonly headNorm: boolean;
  readonly rope: Rope;
}

/**
 * Phi-1 to Phi-2: one LayerNorm feeds attention and MLP, and both are added to the residual at once; a part of each head
 * turns; every matrix has a bias, the head too.
 * Source: Gunasekar et al. 2023, arXiv:2306.11644; Li et al. 2023, arXiv:2309.05463.
 */
export const phi = defineFamily<PhiConfig>({
  name: "phi",
  source: "arXiv:2309.05463",
  modelTypes: ["phi"],
  architectures: { PhiForCausalLM: "text-generation", PhiModel: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "model.",
  unneeded: [/rotary_emb\.inv_freq$/, /^lm_head\.bias$/],
  knownCode: ["PhiConfig", "PhiForCausalLM"],

  readConfig(config) {
    const sizes = readDecoderSizes(config, {
      vocab_size: 51200,
      hidden_size: 2048,
      intermediate_size: 8192,
      num_hidden_layers: 24,
      num_attention_heads: 32,
    });
    return {
      ...sizes,
      activation: readActivation(config, "hidden_act", "gelu_new"),
      epsilon: config.number("layer_norm_eps", { default: 1e-5 }),
      headNorm: config.flag("qk_layernorm", false),
      tied: config.flag("tie_word_embeddings", false),
      rope: readRope(config, { theta: 10000, partial: 0.5 }),
      windows: [],
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
      norm: (base, x) => layerNorm(base, "final_layernorm", x, { size: hiddenSize, epsilon }),
      head: { name: decoderHead, embedding: decoderEmbedding, bias: true },
    });
  },
});

/** x + attention(norm(x)) + mlp(norm(x)) */
function block(module: Module, x: Value, place: DecoderLayer, config: PhiConfig): Attended {
  const normed = layerNorm(module, "input_layernorm", x, { size: config.hiddenSize, epsilon: config.epsilon });
  const { output, present } = inside(module, "self_attn", (self) => attention(self, normed, place, config));
  const widened = inside(module, "mlp", (mlp) =>
    plainMlp(mlp, normed, { ...config, names: ["fc1", "fc2"], bias: true }),
  );
  return { output: add(add(output, widened), x), present };
}

function attention(self: Module, x: Value, { layer, decoder, rotation }: DecoderLayer, config: PhiConfig): Attended {
  const { hiddenSize, heads, headDim, epsilon, headNorm } = config;
  const normed = (module: Module, name: string, states: Value) =>
    layerNorm(module, name.replace("norm", "layernorm"), states, { size: headDim, epsilon });
  const { output: mixed, present } = attendProjected(self, x, decoder, rotation, {
    ...config,
    layer,
    inputBias: true,
    headNorm: headNorm ? normed : undefined,
    scaleFirst: true,
  });
  const shape = { inFeatures: heads * headDim, outFeatures: hiddenSize, bias: true };
  return { output: linear(self, "dense", mixed, shape), present };
}
