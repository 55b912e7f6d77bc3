import { add, type Value } from "@loomweight/graph";
import type { DecoderSizes } from "../decoder-config.ts";
import type { FamilyBuild, FamilyGraph } from "../family.ts";
import { cachedSelfAttention } from "./attention.ts";
import { cacheOutputs, decoderInputs, type KeyValues } from "./decoder.ts";
import { embedding } from "./embeddings.ts";
import { languageHead, logitsOutput } from "./heads.ts";
import { gatedMlp } from "./mlp.ts";
import { inside } from "./module.ts";
import { rmsNorm } from "./norms.ts";
import { type Rope, rotationAt } from "./rope.ts";

/** What Llama and its relatives differ by. */
export interface PreNormDecoderConfig extends DecoderSizes {
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  /** Bias on q_proj, k_proj and v_proj. */
  readonly inputBias: boolean;
  /** Bias on o_proj. */
  readonly outputBias: boolean;
  readonly mlpBias: boolean;
  /** Whether the head is the embedding table. */
  readonly tied: boolean;
  readonly rope: Rope;
  /** Per layer, how many keys a query sees, itself included; undefined: all before it. */
  readonly windows: readonly (number | undefined)[];
}

export const decoderHead = "lm_head";
export const decoderEmbedding = "model.embed_tokens.weight";

/**
 * A decoder whose blocks are x + attention(norm(x)), then x + mlp(norm(x)), with RMSNorm, rotary positions, grouped
 * queries and a gated MLP. Text generation gives `logits` and the cache, feature extraction `last_hidden_state`.
 */
export function preNormDecoder(options: FamilyBuild<PreNormDecoderConfig>): FamilyGraph {
  const { config, model, task, dtype, cacheDtype, tiedHead } = options;
  const { hiddenSize, vocabSize, layers, windows, kvHeads, headDim, epsilon } = config;
  const norm = { size: hiddenSize, epsilon };
  const decoder = decoderInputs({ task, layers, windows, kvHeads, headDim, dtype, cacheDtype });
  const presents: KeyValues[] = [];

  const last = inside(model, "model", (base) => {
    const rotation = rotationAt(decoder.positionIds, config.rope, headDim, dtype);
    let x = embedding(base, "embed_tokens", decoder.inputIds, [vocabSize, hiddenSize]);
    for (let layer = 0; layer < layers; layer++) {
      x = inside(base, `layers.${layer}`, (block) => {
        const normedInput = rmsNorm(block, "input_layernorm", x, norm);
        const attended = inside(block, "self_attn", (self) =>
          cachedSelfAttention(self, normedInput, decoder, rotation, {
            ...config,
            layer,
          }),
        );
        presents.push(attended.present);
        const middle = add(x, attended.output);
        const normedMiddle = rmsNorm(block, "post_attention_layernorm", middle, norm);
        const widened = inside(block, "mlp", (mlp) => gatedMlp(mlp, normedMiddle, { ...config, bias: config.mlpBias }));
        return add(middle, widened);
      });
    }
    return rmsNorm(base, "norm", x, norm);
  });

  if (task === "feature-extraction") {
    return { inputs: decoder.all, outputs: { last_hidden_state: logitsOutput(last) } };
  }
  const tiedTo = config.tied ? decoderEmbedding : undefined;
  const logits = languageHead(model, decoderHead, last, { hiddenSize, vocabSize, tiedTo, tiedHead });
  return { inputs: decoder.all, outputs: { logits: logitsOutput(logits), ...cacheOutputs(presents, cacheDtype) } };
}
