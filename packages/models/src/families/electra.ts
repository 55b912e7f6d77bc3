import { add, gelu, type Value } from "@loomweight/graph";
import { bertLayers } from "../components/bert-encoder.ts";
import { embedding, positionRows } from "../components/embeddings.ts";
import { languageHead } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { inside, type Module } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { denseClassifier } from "../components/roberta-heads.ts";
import { encoderTasks, type TextInputs, textEncoder } from "../components/text-encoder.ts";
import { type EncoderConfig, readEncoderConfig } from "../encoder-config.ts";
import { defineFamily } from "../family.ts";

interface ElectraConfig extends EncoderConfig {
  readonly embeddingSize: number;
  readonly tokenTypes: number;
}

const wordEmbeddings = "electra.embeddings.word_embeddings.weight";
const maskedHead = "generator_lm_head";

/**
 * ELECTRA: BERT with embeddings of a size of their own, projected where that differs from the hidden size; no pooler, and
 * a classifier with gelu. The head that tells replaced tokens is not built.
 * Source: Clark et al. 2020, arXiv:2003.10555.
 */
export const electra = defineFamily<ElectraConfig>({
  name: "electra",
  source: "arXiv:2003.10555",
  modelTypes: ["electra"],
  architectures: {
    ElectraModel: "feature-extraction",
    ElectraForMaskedLM: "fill-mask",
    ElectraForSequenceClassification: "text-classification",
    ElectraForTokenClassification: "token-classification",
    ElectraForQuestionAnswering: "question-answering",
  },
  tasks: encoderTasks,
  basePrefix: "electra.",
  unneeded: [
    /embeddings\.position_ids$/,
    /^(generator_predictions|generator_lm_head|discriminator_predictions)\./,
    /^qa_outputs\.(weight|bias)$/,
    /^classifier\.(dense\.|out_proj\.)?(weight|bias)$/,
  ],

  readConfig(config) {
    // how the multiple-choice class pools
    for (const field of ["summary_activation", "summary_last_dropout", "summary_type", "summary_use_proj"]) {
      config.value(field);
    }
    return {
      ...readEncoderConfig(config, {
        vocab_size: 30522,
        hidden_size: 256,
        intermediate_size: 1024,
        num_attention_heads: 4,
      }),
      embeddingSize: config.size("embedding_size", { default: 128 }),
      tokenTypes: config.size("type_vocab_size", { default: 2 }),
    };
  },

  headNames: ({ tied }, task) =>
    task === "fill-mask" ? { head: maskedHead, embedding: wordEmbeddings, tied } : undefined,

  build(options) {
    const { config, model, tiedHead } = options;
    const { hiddenSize, embeddingSize, vocabSize, epsilon, tied } = config;
    return textEncoder(options, {
      ...config,
      tokenTypes: true,
      encode: (inputs) =>
        inside(model, "electra", (base) => {
          const x = inside(base, "embeddings", (module) => embeddings(module, inputs, config));
          const wide =
            embeddingSize === hiddenSize
              ? x
              : linear(base, "embeddings_project", x, {
                  inFeatures: embeddingSize,
                  outFeatures: hiddenSize,
                  bias: true,
                });
          return bertLayers(base, wide, inputs.attentionMask, config);
        }),
      fillMask(last) {
        const narrow = inside(model, "generator_predictions", (module) => {
          const shape = { inFeatures: hiddenSize, outFeatures: embeddingSize, bias: true };
          const dense = gelu(linear(module, "dense", last, shape), "none");
          return layerNorm(module, "LayerNorm", dense, { size: embeddingSize, epsilon });
        });
        const tiedTo = tied ? wordEmbeddings : undefined;
        return languageHead(model, maskedHead, narrow, {
          hiddenSize: embeddingSize,
          vocabSize,
          tiedTo,
          tiedHead,
          bias: true,
        });
      },
      classify: (last) => denseClassifier(model, last, config, (x) => gelu(x, "none")),
    });
  },
});

/** norm(word + position + token type): [batch, sequence, embedding size] */
function embeddings(module: Module, { inputIds, tokenTypeIds }: TextInputs, config: ElectraConfig): Value {
  const { embeddingSize: size, vocabSize, positions, tokenTypes, epsilon } = config;
  const words = embedding(module, "word_embeddings", inputIds, [vocabSize, size]);
  const types = embedding(module, "token_type_embeddings", tokenTypeIds, [tokenTypes, size]);
  const places = positionRows(module, "position_embeddings", words, [positions, size]);
  return layerNorm(module, "LayerNorm", add(add(words, types), places), { size, epsilon });
}
