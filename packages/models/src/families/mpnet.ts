import { add, type Value } from "@loomweight/graph";
import { selfAttention } from "../components/attention.ts";
import { bertPooler, feedForward, square } from "../components/bert-encoder.ts";
import { columnsOf, maskValues } from "../components/columns.ts";
import { embedding, positionRowsPastPadding } from "../components/embeddings.ts";
import { linear } from "../components/linear.ts";
import { inside, type Module } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { relativeBias } from "../components/relative-bias.ts";
import { denseClassifier, robertaHead, robertaLanguageHead } from "../components/roberta-heads.ts";
import { encoderTasks, textEncoder } from "../components/text-encoder.ts";
import { type EncoderConfig, readEncoderConfig } from "../encoder-config.ts";
import { defineFamily } from "../family.ts";

interface MpnetConfig extends EncoderConfig {
  /** Rows of the table of relative positions. */
  readonly buckets: number;
}

const wordEmbeddings = "mpnet.embeddings.word_embeddings.weight";

/**
 * MPNet: BERT without token types, with a bias by distance that all layers share. The reference counts 32 buckets up to
 * distance 128 and takes 1 for padding, whatever the configuration says.
 * Source: Song et al. 2020, arXiv:2004.09297.
 */
export const mpnet = defineFamily<MpnetConfig>({
  name: "mpnet",
  source: "arXiv:2004.09297",
  modelTypes: ["mpnet"],
  architectures: {
    MPNetModel: "feature-extraction",
    MPNetForMaskedLM: "fill-mask",
    MPNetForSequenceClassification: "text-classification",
    MPNetForTokenClassification: "token-classification",
    MPNetForQuestionAnswering: "question-answering",
  },
  tasks: encoderTasks,
  basePrefix: "mpnet.",
  unneeded: [
    /embeddings\.position_ids$/,
    /(^|\.)pooler\.dense\.(weight|bias)$/,
    /^lm_head\./,
    /^qa_outputs\.(weight|bias)$/,
    /^classifier\.(dense\.|out_proj\.)?(weight|bias)$/,
  ],

  readConfig: (config) => ({
    ...readEncoderConfig(config, { vocab_size: 30527 }),
    buckets: config.size("relative_attention_num_buckets", { default: 32, min: 32 }),
  }),

  headNames: ({ tied }, task) =>
    task === "fill-mask" ? { head: robertaHead, embedding: wordEmbeddings, tied } : undefined,

  build(options) {
    const { config, model, tiedHead } = options;
    const { heads, layers, hiddenSize, buckets } = config;
    return textEncoder(options, {
      ...config,
      tokenTypes: false,
      encode: ({ inputIds, attentionMask }) =>
        inside(model, "mpnet", (base) => {
          let x = inside(base, "embeddings", (module) => embeddings(module, inputIds, config));
          const columns = columnsOf(maskValues(attentionMask), 1);
          const scoreBias = relativeBias(base, "encoder.relative_attention_bias", {
            heads,
            rows: buckets,
            buckets: 32,
            maxDistance: 128,
            bothWays: true,
            queries: columns,
            keys: columns,
          });
          for (let layer = 0; layer < layers; layer++) {
            x = inside(base, `encoder.layer.${layer}`, (module) =>
              block(module, x, { attentionMask, scoreBias }, config),
            );
          }
          return x;
        }),
      pool: (last) => bertPooler(model, "mpnet.pooler", last, hiddenSize),
      fillMask: (last) => robertaLanguageHead(model, last, config, { embedding: wordEmbeddings, tiedHead }),
      classify: (last) => denseClassifier(model, last, config),
    });
  },
});

/** norm(word + position) */
function embeddings(module: Module, inputIds: Value, config: MpnetConfig): Value {
  const { hiddenSize: size, vocabSize, positions, epsilon } = config;
  const words = embedding(module, "word_embeddings", inputIds, [vocabSize, size]);
  const shape = [positions, size] as const;
  const places = positionRowsPastPadding(module, "position_embeddings", inputIds, { padId: 1, vocabSize, shape });
  return layerNorm(module, "LayerNorm", add(words, places), { size, epsilon });
}

/** norm(x + attention(x)), then norm(x + mlp(x)) */
function block(
  module: Module,
  x: Value,
  masks: { readonly attentionMask: Value; readonly scoreBias: Value },
  config: MpnetConfig,
): Value {
  const { hiddenSize, heads, epsilon } = config;
  const attended = inside(module, "attention", (attention) => {
    const mixed = inside(attention, "attn", (self) => {
      const states = selfAttention(self, x, { hiddenSize, heads, bias: true, names: ["q", "k", "v"], ...masks });
      return linear(self, "o", states, square(hiddenSize));
    });
    return layerNorm(attention, "LayerNorm", add(mixed, x), { size: hiddenSize, epsilon });
  });
  return feedForward(module, attended, config);
}
