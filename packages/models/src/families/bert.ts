import { add, input, tanh, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { selfAttention } from "../components/attention.ts";
import { embedding, positionRows } from "../components/embeddings.ts";
import { classifier, countLabels, firstToken, languageHead, logitsOutput } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { inside, type Module, weight } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import type { ConfigReader } from "../config-reader.ts";
import { defineFamily } from "../family.ts";

interface BertConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly positions: number;
  readonly tokenTypes: number;
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  readonly tied: boolean;
  readonly labels: number | undefined;
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
  },
  tasks: ["fill-mask", "text-classification", "feature-extraction"],
  basePrefix: "bert.",
  unneeded: [
    /embeddings\.position_ids$/,
    /(^|\.)pooler\.dense\.(weight|bias)$/,
    /^cls\.predictions\./,
    /^cls\.seq_relationship\./,
    /^classifier\.(weight|bias)$/,
  ],

  readConfig(config: ConfigReader) {
    config.only("position_embedding_type", ["absolute"], "relative positions are not built yet");
    config.only("is_decoder", [false], "BERT as a decoder is not built yet");
    config.only("add_cross_attention", [false], "BERT as a decoder is not built yet");
    // Notes on the pooler that old multilingual checkpoints carry; no code reads them.
    for (const field of ["directionality", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers"]) {
      config.value(field);
    }
    for (const field of ["pooler_size_per_head", "pooler_type"]) config.value(field);
    const hiddenSize = config.size("hidden_size", { default: 768 });
    const heads = config.size("num_attention_heads", { default: 12 });
    if (hiddenSize % heads !== 0)
      throw config.refuse("num_attention_heads", `a divisor of hidden_size (${hiddenSize})`);
    return {
      vocabSize: config.size("vocab_size", { default: 30522 }),
      hiddenSize,
      intermediateSize: config.size("intermediate_size", { default: 3072 }),
      layers: config.size("num_hidden_layers", { default: 12, max: 10000 }),
      heads,
      positions: config.size("max_position_embeddings", { default: 512 }),
      tokenTypes: config.size("type_vocab_size", { default: 2 }),
      activation: readActivation(config, "hidden_act", "gelu"),
      epsilon: config.number("layer_norm_eps", { default: 1e-12, min: 0 }),
      tied: config.flag("tie_word_embeddings", true),
      labels: countLabels(config),
    };
  },

  headNames: ({ tied }, task) =>
    task === "fill-mask" ? { head: maskedHead, embedding: wordEmbeddings, tied } : undefined,

  build(options) {
    const { config, model, task, tiedHead } = options;
    const { hiddenSize, vocabSize, activation } = config;
    const inputIds = input("input_ids", "int64", ["batch_size", "sequence_length"]);
    const attentionMask = input("attention_mask", "int64", ["batch_size", "sequence_length"]);
    const tokenTypeIds = input("token_type_ids", "int64", ["batch_size", "sequence_length"]);
    const inputs = [inputIds, attentionMask, tokenTypeIds];

    const last = inside(model, "bert", (base) => {
      let x = inside(base, "embeddings", (module) => embeddings(module, inputIds, tokenTypeIds, config));
      for (let layer = 0; layer < config.layers; layer++) {
        x = inside(base, `encoder.layer.${layer}`, (module) => block(module, x, attentionMask, config));
      }
      return x;
    });
    const pooled = () =>
      inside(model, "bert.pooler", (pooler) => tanh(linear(pooler, "dense", firstToken(last), square(hiddenSize))));

    if (task === "fill-mask") {
      const logits = inside(model, "cls.predictions", (head) => {
        const turned = inside(head, "transform", (module) => {
          const dense = activation(linear(module, "dense", last, square(hiddenSize)));
          return layerNorm(module, "LayerNorm", dense, { size: hiddenSize, epsilon: config.epsilon });
        });
        const tiedTo = config.tied ? wordEmbeddings : undefined;
        const product = languageHead(head, "decoder", turned, { hiddenSize, vocabSize, tiedTo, tiedHead });
        return add(product, weight(head, "bias", [vocabSize]));
      });
      return { inputs, outputs: { logits: logitsOutput(logits) } };
    }
    if (task === "text-classification") {
      return {
        inputs,
        outputs: { logits: logitsOutput(classifier(model, pooled(), { hiddenSize, labels: config.labels })) },
      };
    }
    const outputs: Record<string, Value> = { last_hidden_state: logitsOutput(last) };
    if (model.weights.has("bert.pooler.dense.weight")) outputs.pooler_output = logitsOutput(pooled());
    return { inputs, outputs };
  },
});

const square = (size: number) => ({ inFeatures: size, outFeatures: size, bias: true });

/** norm(word + position + token type) */
function embeddings(module: Module, inputIds: Value, tokenTypeIds: Value, config: BertConfig): Value {
  const { hiddenSize: size, vocabSize, positions, tokenTypes, epsilon } = config;
  const words = embedding(module, "word_embeddings", inputIds, [vocabSize, size]);
  const types = embedding(module, "token_type_embeddings", tokenTypeIds, [tokenTypes, size]);
  const places = positionRows(module, "position_embeddings", inputIds, [positions, size]);
  return layerNorm(module, "LayerNorm", add(add(words, types), places), { size, epsilon });
}

/** norm(x + attention(x)), then norm(x + mlp(x)) */
function block(module: Module, x: Value, attentionMask: Value, config: BertConfig): Value {
  const { hiddenSize, intermediateSize, heads, activation, epsilon } = config;
  const norm = { size: hiddenSize, epsilon };
  const mixed = inside(module, "attention.self", (self) =>
    selfAttention(self, x, { hiddenSize, heads, bias: true, attentionMask }),
  );
  const attended = inside(module, "attention.output", (output) =>
    layerNorm(output, "LayerNorm", add(linear(output, "dense", mixed, square(hiddenSize)), x), norm),
  );
  const widened = inside(module, "intermediate", (intermediate) =>
    activation(
      linear(intermediate, "dense", attended, { inFeatures: hiddenSize, outFeatures: intermediateSize, bias: true }),
    ),
  );
  return inside(module, "output", (output) => {
    const narrowed = linear(output, "dense", widened, {
      inFeatures: intermediateSize,
      outFeatures: hiddenSize,
      bias: true,
    });
    return layerNorm(output, "LayerNorm", add(narrowed, attended), norm);
  });
}
