import { add, relu, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { selfAttention } from "../components/attention.ts";
import { square } from "../components/bert-encoder.ts";
import { embedding, positionRows } from "../components/embeddings.ts";
import { classifier, countLabels, firstToken, languageHead } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { plainMlp } from "../components/mlp.ts";
import { inside, type Module } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { encoderTasks, textEncoder } from "../components/text-encoder.ts";
import type { EncoderConfig } from "../encoder-config.ts";
import { defineFamily } from "../family.ts";

const wordEmbeddings = "distilbert.embeddings.word_embeddings.weight";
const maskedHead = "vocab_projector";

/**
 * DistilBERT: BERT without token types and pooler; its classifier is ReLU between two linear layers on the first token.
 * Source: Sanh et al. 2019, arXiv:1910.01108.
 */
export const distilbert = defineFamily<EncoderConfig>({
  name: "distilbert",
  source: "arXiv:1910.01108",
  modelTypes: ["distilbert"],
  architectures: {
    DistilBertModel: "feature-extraction",
    DistilBertForMaskedLM: "fill-mask",
    DistilBertForSequenceClassification: "text-classification",
    DistilBertForTokenClassification: "token-classification",
    DistilBertForQuestionAnswering: "question-answering",
  },
  tasks: encoderTasks,
  basePrefix: "distilbert.",
  unneeded: [
    /embeddings\.position_ids$/,
    /^(vocab_transform|vocab_layer_norm|vocab_projector)\./,
    /^(pre_classifier|classifier|qa_outputs)\.(weight|bias)$/,
  ],

  readConfig(config) {
    const hiddenSize = config.size("dim", { default: 768 });
    const heads = config.size("n_heads", { default: 12 });
    if (hiddenSize % heads !== 0) throw config.refuse("n_heads", `a divisor of dim (${hiddenSize})`);
    // how the stored table of positions was filled, and a spelling of tie_word_embeddings that nothing reads
    for (const field of ["sinusoidal_pos_embds", "tie_weights_"]) config.value(field);
    return {
      vocabSize: config.size("vocab_size", { default: 30522 }),
      hiddenSize,
      intermediateSize: config.size("hidden_dim", { default: 3072 }),
      layers: config.size("n_layers", { default: 6, max: 10000 }),
      heads,
      positions: config.size("max_position_embeddings", { default: 512 }),
      activation: readActivation(config, "activation", "gelu"),
      epsilon: 1e-12, // fixed in the reference
      tied: config.flag("tie_word_embeddings", true),
      labels: countLabels(config),
    };
  },

  headNames: ({ tied }, task) =>
    task === "fill-mask" ? { head: maskedHead, embedding: wordEmbeddings, tied } : undefined,

  build(options) {
    const { config, model, tiedHead } = options;
    const { hiddenSize, vocabSize, layers, labels, activation, epsilon, tied } = config;
    return textEncoder(options, {
      ...config,
      tokenTypes: false,
      encode: ({ inputIds, attentionMask }) =>
        inside(model, "distilbert", (base) => {
          let x = inside(base, "embeddings", (module) => embeddings(module, inputIds, config));
          for (let layer = 0; layer < layers; layer++) {
            x = inside(base, `transformer.layer.${layer}`, (module) => block(module, x, attentionMask, config));
          }
          return x;
        }),
      fillMask(last) {
        const dense = activation(linear(model, "vocab_transform", last, square(hiddenSize)));
        const normed = layerNorm(model, "vocab_layer_norm", dense, { size: hiddenSize, epsilon });
        const tiedTo = tied ? wordEmbeddings : undefined;
        return languageHead(model, maskedHead, normed, { hiddenSize, vocabSize, tiedTo, tiedHead, bias: true });
      },
      classify(last) {
        const dense = relu(linear(model, "pre_classifier", firstToken(last), square(hiddenSize)));
        return classifier(model, dense, { hiddenSize, labels });
      },
    });
  },
});

/** norm(word + position) */
function embeddings(module: Module, inputIds: Value, config: EncoderConfig): Value {
  const { hiddenSize: size, vocabSize, positions, epsilon } = config;
  const words = embedding(module, "word_embeddings", inputIds, [vocabSize, size]);
  const places = positionRows(module, "position_embeddings", words, [positions, size]);
  return layerNorm(module, "LayerNorm", add(words, places), { size, epsilon });
}

/** norm(x + attention(x)), then norm(x + mlp(x)) */
function block(module: Module, x: Value, attentionMask: Value, config: EncoderConfig): Value {
  const { hiddenSize, heads, epsilon } = config;
  const norm = { size: hiddenSize, epsilon };
  const attended = inside(module, "attention", (self) => {
    const names = ["q_lin", "k_lin", "v_lin"] as const;
    const mixed = selfAttention(self, x, { hiddenSize, heads, bias: true, names, attentionMask });
    return linear(self, "out_lin", mixed, square(hiddenSize));
  });
  const middle = layerNorm(module, "sa_layer_norm", add(attended, x), norm);
  const widened = inside(module, "ffn", (ffn) =>
    plainMlp(ffn, middle, { ...config, names: ["lin1", "lin2"], bias: true }),
  );
  return layerNorm(module, "output_layer_norm", add(widened, middle), norm);
}
