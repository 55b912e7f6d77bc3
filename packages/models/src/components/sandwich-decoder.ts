import { add, cast, mul, type Value } from "@loomweight/graph";
import type { ConfigReader } from "../config-reader.ts";
import { type DecoderDefaults, type DecoderSizes, readDecoderSizes } from "../decoder-config.ts";
import type { FamilyBuild, FamilyGraph } from "../family.ts";
import { readActivation } from "./activation.ts";
import { type Attended, cachedSelfAttention } from "./attention.ts";
import { type CausalDecoderConfig, causalDecoder, type DecoderLayer } from "./causal-decoder.ts";
import { embedding } from "./embeddings.ts";
import { narrowed } from "./float32.ts";
import { softCapped } from "./heads.ts";
import { gatedMlp } from "./mlp.ts";
import { inside, type Module } from "./module.ts";
import { rmsNorm } from "./norms.ts";
import { decoderEmbedding, decoderHead } from "./pre-norm-decoder.ts";
import type { Rope } from "./rope-config.ts";

/** What Gemma 2 and Gemma 3 share, and differ by. */
export interface SandwichDecoderConfig extends DecoderSizes, CausalDecoderConfig {
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  readonly attentionBias: boolean;
  /** Scores are multiplied by it. */
  readonly scale: number;
  /** Scores and logits are bent into ± these; undefined: not. */
  readonly scoreCap: number | undefined;
  readonly logitCap: number | undefined;
  /** RMSNorm of each query and key head before it turns. */
  readonly headNorm: boolean;
  /** Rotary positions of each layer. */
  readonly ropes: readonly Rope[];
}

/** Fields that both generations have; defaults differ. */
export function readSandwichDecoder(
  config: ConfigReader,
  sizes: DecoderDefaults,
  caps: { readonly score: number | undefined; readonly logit: number | undefined },
): Omit<SandwichDecoderConfig, "windows" | "ropes" | "headNorm"> {
  config.only("use_bidirectional_attention", [false], "attention to later tokens is not built for this family");
  const cap = (field: string, initial: number | undefined) =>
    config.isNull(field) || (initial === undefined && !config.has(field))
      ? undefined
      : config.number(field, { default: initial });
  // early files have both spellings; the newer one counts
  const field = config.has("hidden_activation") ? "hidden_activation" : "hidden_act";
  config.value("hidden_act");
  return {
    ...readDecoderSizes(config, sizes),
    activation: readActivation(config, field, "gelu_pytorch_tanh"),
    epsilon: config.number("rms_norm_eps", { default: 1e-6 }),
    attentionBias: config.flag("attention_bias", false),
    scale: config.number("query_pre_attn_scalar", { default: 256 }) ** -0.5,
    scoreCap: cap("attn_logit_softcapping", caps.score),
    logitCap: cap("final_logit_softcapping", caps.logit),
    tied: config.flag("tie_word_embeddings", true),
  };
}

/**
 * A decoder with a norm before and after each branch: x + norm(attention(norm(x))), then x + norm(mlp(norm(x))). Norms are
 * scaled by 1 + weight, embeddings multiplied by sqrt(hidden size). Sums of branches grow into the hundred thousands: they,
 * the norms around them and gated products are float32 in half precision too.
 * Source: Gemma 2, arXiv:2408.00118, and Gemma 3, arXiv:2503.19786.
 */
export function sandwichDecoder(options: FamilyBuild<SandwichDecoderConfig>): FamilyGraph {
  const { config } = options;
  const { vocabSize, hiddenSize, epsilon } = config;
  return causalDecoder(options, {
    base: "model",
    layers: "layers",
    rope: (layer) => config.ropes[layer],
    embed: (base, { inputIds }) =>
      mul(cast(embedding(base, "embed_tokens", inputIds, [vocabSize, hiddenSize]), "float32"), Math.sqrt(hiddenSize)),
    block: (module, x, place) => block(module, x, place, config),
    norm: (base, x) => narrowed(base, rmsNorm(base, "norm", x, { size: hiddenSize, epsilon, unitOffset: true })),
    head: { name: decoderHead, embedding: decoderEmbedding },
    logits: (logits) => softCapped(cast(logits, "float32"), config.logitCap),
  });
}

function block(module: Module, x: Value, place: DecoderLayer, config: SandwichDecoderConfig): Attended {
  const { hiddenSize, headDim, epsilon, attentionBias } = config;
  const normed = (name: string, value: Value) =>
    rmsNorm(module, name, cast(value, "float32"), { size: hiddenSize, epsilon, unitOffset: true });
  const headNorm = (self: Module, name: string, heads: Value) =>
    narrowed(self, rmsNorm(self, name, cast(heads, "float32"), { size: headDim, epsilon, unitOffset: true }));
  const normedInput = narrowed(module, normed("input_layernorm", x));
  const { output, present } = inside(module, "self_attn", (self) =>
    cachedSelfAttention(self, normedInput, place.decoder, place.rotation, {
      ...config,
      inputBias: attentionBias,
      outputBias: attentionBias,
      headNorm: config.headNorm ? headNorm : undefined,
      layer: place.layer,
      softCap: config.scoreCap,
      scaleFirst: true,
    }),
  );
  const middle = add(x, normed("post_attention_layernorm", output));
  const mlpInput = narrowed(module, normed("pre_feedforward_layernorm", middle));
  const widened = inside(module, "mlp", (mlp) => gatedMlp(mlp, mlpInput, { ...config, bias: false, wide: true }));
  return { output: add(middle, normed("post_feedforward_layernorm", widened)), present };
}
