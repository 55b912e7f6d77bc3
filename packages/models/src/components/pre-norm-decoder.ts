import { add, cast, type Value } from "@loomweight/graph";
import type { DecoderSizes } from "../decoder-config.ts";
import type { FamilyBuild, FamilyGraph, HeadNames } from "../family.ts";
import type { Task } from "../tasks.ts";
import { type Attended, cachedSelfAttention } from "./attention.ts";
import { type CausalDecoderConfig, causalDecoder, type DecoderLayer } from "./causal-decoder.ts";
import { embedding } from "./embeddings.ts";
import { narrowed } from "./float32.ts";
import { gatedMlp } from "./mlp.ts";
import { inside, type Module } from "./module.ts";
import { rmsNorm } from "./norms.ts";
import type { Rope } from "./rope-config.ts";

/** What Llama and its relatives differ by. */
export interface PreNormDecoderConfig extends DecoderSizes, CausalDecoderConfig {
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  /** Bias on q_proj, k_proj and v_proj. */
  readonly inputBias: boolean;
  /** Bias on o_proj. */
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  readonly rope: Rope;
  /** RMSNorm of each query and key head before it turns: weights q_norm and k_norm [headDim]. Default not. */
  readonly headNorm?: boolean;
  /** Layers whose queries and keys do not turn; default none. */
  readonly withoutRope?: ReadonlySet<number>;
  /**
   * Published weights leave float16's range: in half precision, sums of branches, gated products and norms stay float32
   * and queries are scaled before they meet keys. Default false.
   */
  readonly wide?: boolean;
}

export const decoderHead = "lm_head";
export const decoderEmbedding = "model.embed_tokens.weight";

/** Names of the head and the table it may be tied to, in families that call them as Llama does. */
export function decoderHeadNames({ tied }: CausalDecoderConfig, task: Task): HeadNames | undefined {
  return task === "text-generation" ? { head: decoderHead, embedding: decoderEmbedding, tied } : undefined;
}

/**
 * A decoder whose blocks are x + attention(norm(x)), then x + mlp(norm(x)), with RMSNorm, rotary positions, grouped
 * queries and a gated MLP.
 */
export function preNormDecoder(options: FamilyBuild<PreNormDecoderConfig>): FamilyGraph {
  const { config } = options;
  const { vocabSize, hiddenSize, epsilon, withoutRope, wide = false } = config;
  return causalDecoder(options, {
    base: "model",
    layers: "layers",
    rope: (layer) => (withoutRope?.has(layer) === true ? undefined : config.rope),
    embed: (base, { inputIds }) => {
      const words = embedding(base, "embed_tokens", inputIds, [vocabSize, hiddenSize]);
      return wide ? cast(words, "float32") : words;
    },
    block: (module, x, place) => block(module, x, place, config),
    norm: (base, x) => narrowed(base, rmsNorm(base, "norm", x, { size: hiddenSize, epsilon })),
    head: { name: decoderHead, embedding: decoderEmbedding },
  });
}

function block(module: Module, x: Value, place: DecoderLayer, config: PreNormDecoderConfig): Attended {
  const { hiddenSize, headDim, epsilon } = config;
  const norm = { size: hiddenSize, epsilon };
  const headNorm = (self: Module, name: string, heads: Value) => rmsNorm(self, name, heads, { size: headDim, epsilon });
  const normedInput = narrowed(module, rmsNorm(module, "input_layernorm", x, norm));
  const { output, present } = inside(module, "self_attn", (self) =>
    cachedSelfAttention(self, normedInput, place.decoder, place.rotation, {
      ...config,
      layer: place.layer,
      headNorm: config.headNorm === true ? headNorm : undefined,
      scaleFirst: config.wide,
    }),
  );
  const middle = add(x, cast(output, x.dtype));
  const normedMiddle = narrowed(module, rmsNorm(module, "post_attention_layernorm", middle, norm));
  const widened = inside(module, "mlp", (mlp) => gatedMlp(mlp, normedMiddle, { ...config, bias: config.mlpBias }));
  return { output: add(middle, cast(widened, x.dtype)), present };
}
