import { add, tanh, type Value } from "@loomweight/graph";
import { bertLayers, bertPooler, square } from "../components/bert-encoder.ts";
import { embedding, positionRows } from "../components/embeddings.ts";
import { classifier, firstToken, languageHead } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { inside, type Module, weight } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { encoderTasks, type TextInputs, textEncoder } from "../components/text-encoder.ts";
import { type EncoderConfig, readEncoderConfig } from "../encoder-config.ts";
import { defineFamily } from "../family.ts";

interface BertConfig extends EncoderConfig {
  readonly tokenTypes: number;
}

const wordEmbeddings = "bert.embeddings.word_embeddings.weight";
const maskedHead = "cls.predictions.decoder";

/**
 * BERT: encoder whose blocks normalise after each sum; learned positions, token types, masked language head tied to the
 * word embeddings, classifier on the tanh-pooled first token.
 * Source: Devlin et al. 2018, arXiv:1810.04805.
 */
export const bert = defineFamily<BertConfig>({
  name: "bert",
  source: "arXiv:1810.04805",
  modelTypes: ["bert"],
  architectures: {
    BertModel: "feature-extraction",
    BertForMaskedLM: "fill-mask",
    BertForPreTraining: "fill-mask",
    BertForSequenceClassification: "text-classification",
    BertForTokenClassification: "token-classification",
    BertForQuestionAnswering: "question-answering",
  },
  tasks: encoderTasks,
  basePrefix: "bert.",
  unneeded: [
    /embeddings\.position_ids$/,
    /(^|\.)pooler\.dense\.(weight|bias)$/,
    /^cls\.predictions\./,
    /^cls\.seq_relationship\./,
    /^(classifier|qa_outputs)\.(weight|bias)$/,
  ],

  readConfig(config) {
    // Notes on the pooler that old multilingual checkpoints carry; no code reads them.
    for (const field of ["directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"]) {
      config.value(field);
    }
    for (const field of ["pooler_size_per_head", "pooler_type"]) config.value(field);
    return {
      ...readEncoderConfig(config, { vocab_size: 30522 }),
      tokenTypes: config.size("type_vocab_size", { default: 2 }),
    };
  },

  headNames: ({ tied }, task) =>
    task === "fill-mask" ? { head: maskedHead, embedding: wordEmbeddings, tied } : undefined,

  build(options) {
    const { config, model, tiedHead } = options;
    const { hiddenSize, vocabSize, labels, activation, epsilon, tied } = config;
    return textEncoder(options, {
      tokenTypes: true,
      hiddenSize,
      labels,
      encode: (inputs) =>
        inside(model, "bert", (base) => {
          const x = inside(base, "embeddings", (module) => embeddings(module, inputs, config));
          return bertLayers(base, x, inputs.attentionMask, config);
        }),
      pool: (last) => bertPooler(model, "bert.pooler", last, hiddenSize),
      fillMask: (last) =>
        inside(model, "cls.predictions", (head) => {
          const turned = inside(head, "transform", (module) =>
            layerNorm(module, "LayerNorm", activation(linear(module, "dense", last, square(hiddenSize))), {
              size: hiddenSize,
              epsilon,
            }),
          );
          const tiedTo = tied ? wordEmbeddings : undefined;
          const product = languageHead(head, "decoder", turned, { hiddenSize, vocabSize, tiedTo, tiedHead });
          return add(product, weight(head, "bias", [vocabSize]));
        }),
      classify: (last) => {
        const pooled = inside(model, "bert.pooler", (pooler) =>
          tanh(linear(pooler, "dense", firstToken(last), square(hiddenSize))),
        );
        return classifier(model, pooled, { hiddenSize, labels });
      },
    });
  },
});

/** norm(word + position + token type) */
function embeddings(module: Module, { inputIds, tokenTypeIds }: TextInputs, config: BertConfig): Value {
  const { hiddenSize: size, vocabSize, positions, tokenTypes, epsilon } = config;
  const words = embedding(module, "word_embeddings", inputIds, [vocabSize, size]);
  const types = embedding(module, "token_type_embeddings", tokenTypeIds, [tokenTypes, size]);
  const places = positionRows(module, "position_embeddings", words, [positions, size]);
  return layerNorm(module, "LayerNorm", add(add(words, types), places), { size, epsilon });
}
