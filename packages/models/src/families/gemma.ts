import { add, cast, mul, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { type Attended, cachedSelfAttention } from "../components/attention.ts";
import { causalDecoder, type DecoderLayer } from "../components/causal-decoder.ts";
import { embedding } from "../components/embeddings.ts";
import { narrowed } from "../components/float32.ts";
import { gatedMlp } from "../components/mlp.ts";
import { inside, type Module } from "../components/module.ts";
import { rmsNorm } from "../components/norms.ts";
import {
  decoderEmbedding,
  decoderHead,
  decoderHeadNames,
  type PreNormDecoderConfig,
} from "../components/pre-norm-decoder.ts";
import { readRope } from "../components/rope-config.ts";
import { readDecoderSizes, requireFullAttention } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

/**
 * Gemma: Llama with norms scaled by 1 + weight, embeddings times sqrt(hidden size), heads 256 wide by default and a tied
 * head; "gelu" in its files means the tanh form.
 * Source: Gemma team 2024, arXiv:2403.08295.
 */
export const gemma = defineFamily<PreNormDecoderConfig>({
  name: "gemma",
  source: "arXiv:2403.08295",
  modelTypes: ["gemma"],
  architectures: { GemmaForCausalLM: "text-generation", GemmaModel: "feature-extraction" },
  tasks: ["text-generation", "feature-extraction"],
  basePrefix: "model.",
  unneeded: [/rotary_emb\.inv_freq$/],

  readConfig(config) {
    const sizes = readDecoderSizes(config, {
      vocab_size: 256000,
      hidden_size: 3072,
      intermediate_size: 24576,
      num_hidden_layers: 28,
      num_attention_heads: 16,
      num_key_value_heads: 16,
      head_dim: 256,
    });
    requireFullAttention(config, sizes.layers, "gemma");
    config.only("use_bidirectional_attention", [false], "attention to later tokens is not built for gemma");
    const attentionBias = config.flag("attention_bias", false);
    const field = config.has("hidden_activation") ? "hidden_activation" : "hidden_act";
    config.value("hidden_act");
    return {
      ...sizes,
      activation: readActivation(config, field, "gelu_pytorch_tanh", { gelu: "gelu_pytorch_tanh" }),
      epsilon: config.number("rms_norm_eps", { default: 1e-6 }),
      inputBias: attentionBias,
      outputBias: attentionBias,
      mlpBias: false,
      tied: config.flag("tie_word_embeddings", true),
      rope: readRope(config, { theta: 10000 }),
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
      embed: (base, { inputIds }) =>
        mul(cast(embedding(base, "embed_tokens", inputIds, [vocabSize, hiddenSize]), "float32"), Math.sqrt(hiddenSize)),
      block: (module, x, place) => block(module, x, place, config),
      norm: (base, x) => narrowed(base, rmsNorm(base, "norm", x, { size: hiddenSize, epsilon, unitOffset: true })),
      head: { name: decoderHead, embedding: decoderEmbedding },
    });
  },
});

/** x + attention(norm(x)), then x + mlp(norm(x)); x is float32 in half precision too, which its sums leave. */
function block(module: Module, x: Value, place: DecoderLayer, config: PreNormDecoderConfig): Attended {
  const norm = { size: config.hiddenSize, epsilon: config.epsilon, unitOffset: true };
  const normedInput = narrowed(module, rmsNorm(module, "input_layernorm", x, norm));
  const { output, present } = inside(module, "self_attn", (self) =>
    cachedSelfAttention(self, normedInput, place.decoder, place.rotation, {
      ...config,
      headNorm: undefined,
      scaleFirst: true,
      layer: place.layer,
    }),
  );
  const middle = add(x, cast(output, "float32"));
  const normedMiddle = narrowed(module, rmsNorm(module, "post_attention_layernorm", middle, norm));
  const widened = inside(module, "mlp", (mlp) => gatedMlp(mlp, normedMiddle, { ...config, bias: false, wide: true }));
  return { output: add(middle, widened), present };
}
