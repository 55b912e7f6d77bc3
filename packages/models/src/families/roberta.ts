import { add, gather, type Value } from "@loomweight/graph";
import { bertLayers, bertPooler } from "../components/bert-encoder.ts";
import { embedding, positionRowsPastPadding } from "../components/embeddings.ts";
import { inside, type Module, weight } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { denseClassifier, robertaHead, robertaLanguageHead } from "../components/roberta-heads.ts";
import { encoderTasks, textEncoder } from "../components/text-encoder.ts";
import { type EncoderConfig, readEncoderConfig } from "../encoder-config.ts";
import { defineFamily } from "../family.ts";

interface RobertaConfig extends EncoderConfig {
  readonly tokenTypes: number;
  readonly padId: number;
}

const wordEmbeddings = "roberta.embeddings.word_embeddings.weight";

/**
 * RoBERTa, XLM-RoBERTa and CamemBERT: BERT with positions that start behind `pad_token_id` and skip padding, without token
 * types as an input (the first row of their table is added to every token), with heads of its own.
 * Source: Liu et al. 2019, arXiv:1907.11692; Conneau et al. 2019, arXiv:1911.02116.
 */
export const roberta = defineFamily<RobertaConfig>({
  name: "roberta",
  source: "arXiv:1907.11692",
  modelTypes: ["roberta", "xlm-roberta", "camembert"],
  architectures: Object.fromEntries(
    ["Roberta", "XLMRoberta", "Camembert"].flatMap((name) => [
      [`${name}Model`, "feature-extraction"],
      [`${name}ForMaskedLM`, "fill-mask"],
      [`${name}ForSequenceClassification`, "text-classification"],
      [`${name}ForTokenClassification`, "token-classification"],
      [`${name}ForQuestionAnswering`, "question-answering"],
    ]),
  ),
  tasks: encoderTasks,
  basePrefix: "roberta.",
  unneeded: [
    /embeddings\.position_ids$/,
    /(^|\.)pooler\.dense\.(weight|bias)$/,
    /^lm_head\./,
    /^qa_outputs\.(weight|bias)$/,
    /^classifier\.(dense\.|out_proj\.)?(weight|bias)$/,
  ],

  readConfig: (config) => ({
    ...readEncoderConfig(config, { vocab_size: 50265 }),
    tokenTypes: config.size("type_vocab_size", { default: 2 }),
    padId: config.size("pad_token_id", { default: 1, min: 0 }),
  }),

  headNames: ({ tied }, task) =>
    task === "fill-mask" ? { head: robertaHead, embedding: wordEmbeddings, tied } : undefined,

  build(options) {
    const { config, model, tiedHead } = options;
    return textEncoder(options, {
      ...config,
      tokenTypes: false,
      encode: ({ inputIds, attentionMask }) =>
        inside(model, "roberta", (base) => {
          const x = inside(base, "embeddings", (module) => embeddings(module, inputIds, config));
          return bertLayers(base, x, attentionMask, config);
        }),
      pool: (last) => bertPooler(model, "roberta.pooler", last, config.hiddenSize),
      fillMask: (last) => robertaLanguageHead(model, last, config, { embedding: wordEmbeddings, tiedHead }),
      classify: (last) => denseClassifier(model, last, config),
    });
  },
});

/** norm(word + first token type + position) */
function embeddings(module: Module, inputIds: Value, config: RobertaConfig): Value {
  const { hiddenSize: size, vocabSize, positions, tokenTypes, padId, epsilon } = config;
  const words = embedding(module, "word_embeddings", inputIds, [vocabSize, size]);
  const type = inside(module, "token_type_embeddings", (table) =>
    gather(weight(table, "weight", [tokenTypes, size]), 0, 0),
  );
  const shape = [positions, size] as const;
  const places = positionRowsPastPadding(module, "position_embeddings", inputIds, { padId, vocabSize, shape });
  return layerNorm(module, "LayerNorm", add(add(words, type), places), { size, epsilon });
}
