import { add, cast, concat, equal, gather, input, mul, reduceMax, slice, tanh, type Value } from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import {
  type BartLayersConfig,
  bartDecoderLayers,
  bartEncoderLayers,
  bartNorm,
  readBartLayers,
} from "../components/bart-layers.ts";
import { columnsOf, idsThat } from "../components/columns.ts";
import { embedding } from "../components/embeddings.ts";
import { countLabels, languageHead, logitsOutput, stateWhere } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { triangularBias } from "../components/mask.ts";
import { inside, type Module, pathOf, weight } from "../components/module.ts";
import { perRow } from "../components/patch-embedding.ts";
import {
  type LayerCache,
  type Seq2SeqDecoder,
  seq2seqGraph,
  seq2seqInputs,
  tokenColumns,
} from "../components/seq2seq.ts";
import { defineFamily, type FamilyBuild } from "../family.ts";

interface BartConfig extends BartLayersConfig {
  readonly vocabSize: number;
  readonly positions: number;
  /** Factor of the embeddings of words. */
  readonly embeddingScale: number;
  readonly tied: boolean;
  readonly startId: number;
  readonly endId: number;
  readonly labels: number | undefined;
}

const words = "model.shared.weight";
/** Rows of the table of positions that are never read. */
const positionOffset = 2;

/**
 * BART: encoder–decoder with norms after each sum, learned positions and one table of words for encoder, decoder and head.
 * Its classifier lets the decoder read the text once more and takes the state at the last end token.
 * Source: Lewis et al. 2019, arXiv:1910.13461.
 */
export const bart = defineFamily<BartConfig>({
  name: "bart",
  source: "arXiv:1910.13461",
  modelTypes: ["bart"],
  architectures: {
    BartForConditionalGeneration: "text2text-generation",
    BartForSequenceClassification: "text-classification",
  },
  tasks: ["text2text-generation", "text-classification"],
  encoderDecoder: true,
  basePrefix: "model.",
  unneeded: [
    /^(model\.)?(encoder|decoder)\.embed_tokens\.weight$/, // copies of the shared table
    /^(model\.)?(encoder|decoder)\.version$/,
    /^final_logits_bias$/,
    /^classification_head\./,
  ],

  readConfig(config) {
    const layers = readBartLayers(config, {
      hiddenSize: 1024,
      stack: { layers: 12, heads: 16, intermediateSize: 4096 },
    });
    config.only("is_decoder", [false], "BART without its encoder is not built");
    config.only("add_final_layer_norm", [false], "BART has no norm behind its layers");
    config.only("normalize_before", [false], "BART's norms come after each sum");
    config.only("normalize_embedding", [true], "BART's embeddings are normed");
    config.only("static_position_embeddings", [false], "BART's positions are learned");
    // what follows from other fields, and what nothing reads
    for (const field of ["add_bias_logits", "extra_pos_embeddings", "force_bos_token_to_be_generated"]) {
      config.value(field);
    }
    for (const field of ["classif_dropout", "replacing_rate", "save_step"]) config.value(field);
    return {
      ...layers,
      keyBias: true,
      norm: "after",
      vocabSize: config.size("vocab_size", { default: 50265 }),
      positions: config.size("max_position_embeddings", { default: 1024 }) + positionOffset,
      embeddingScale: config.flag("scale_embedding", false) ? Math.sqrt(layers.hiddenSize) : 1,
      tied: config.flag("tie_word_embeddings", true),
      startId: config.size("decoder_start_token_id", { default: 2, min: 0 }),
      endId: config.size("eos_token_id", { default: 2, min: 0 }),
      labels: countLabels(config),
    };
  },

  headNames: ({ tied }, task) =>
    task === "text2text-generation" ? { head: "lm_head", embedding: words, tied } : undefined,

  build(options) {
    const { config, model, task, dtype, cacheDtype } = options;
    const inputIds = input("input_ids", "int64", ["batch_size", "encoder_sequence_length"]);
    const attentionMask = input("attention_mask", "int64", ["batch_size", "encoder_sequence_length"]);
    const states = encode(model, inputIds, attentionMask, config);
    if (task === "text-classification") {
      const words = shiftedRight(model, wordsOf(model, inputIds, config), config);
      const uncached = { past: undefined, cached: undefined, encoded: undefined };
      const { last } = decode(
        model,
        words,
        { inputIds, encoderStates: states, encoderMask: attentionMask, ...uncached },
        config,
      );
      const logits = classify(model, stateAtLastEnd(last, inputIds, config), config);
      return { inputs: [inputIds, attentionMask], outputs: { logits: logitsOutput(logits) } };
    }
    const { layers, heads } = config.decoder;
    const { hiddenSize } = config;
    const headDim = hiddenSize / heads;
    const { inputs, decoder } = seq2seqInputs({
      layers,
      heads,
      headDim,
      hiddenSize,
      masked: true,
      dtype,
      cacheDtype,
      gpuOnly: model.gpuOnly,
    });
    const { last, presents } = decode(model, wordsOf(model, decoder.inputIds, config), decoder, config);
    return {
      graphs: {
        encoder_model: {
          inputs: [inputIds, attentionMask],
          outputs: { last_hidden_state: logitsOutput(states) },
        },
        decoder_model_merged: seq2seqGraph(inputs, headOf(options, last), presents, cacheDtype),
      },
    };
  },
});

function encode(model: Module, inputIds: Value, attentionMask: Value, config: BartConfig): Value {
  return inside(model, "model.encoder", (encoder) => {
    const words = wordsOf(model, inputIds, config);
    return bartEncoderLayers(encoder, embeddings(encoder, words, columnsOf(words, 1), config), attentionMask, config);
  });
}

function decode(
  model: Module,
  words: Value,
  decoder: Seq2SeqDecoder,
  config: BartConfig,
): { last: Value; presents: LayerCache[] } {
  return inside(model, "model.decoder", (module) => {
    const { queries, keys } = tokenColumns(decoder, words);
    const x = embeddings(module, words, queries, config);
    const scoreBias = triangularBias(queries, keys, module.weights.dtype);
    return bartDecoderLayers(module, x, decoder, scoreBias, config);
  });
}

function wordsOf(model: Module, ids: Value, { vocabSize, hiddenSize, embeddingScale }: BartConfig): Value {
  const rows = embedding(model, "model.shared", ids, [vocabSize, hiddenSize]);
  return embeddingScale === 1 ? rows : mul(rows, embeddingScale);
}

/** norm(word + position); columns count from 1 */
function embeddings(stack: Module, words: Value, columns: Value, config: BartConfig): Value {
  const table = weight(stack, "embed_positions.weight", [config.positions, config.hiddenSize]);
  const places = gather(table, cast(add(columns, positionOffset - 1), "int32"), 0);
  return bartNorm(stack, "layernorm_embedding", add(words, places), config);
}

function headOf({ config, model, tiedHead }: FamilyBuild<BartConfig>, last: Value): Value {
  const { hiddenSize, vocabSize, tied } = config;
  const tiedTo = tied ? words : undefined;
  const logits = languageHead(model, "lm_head", last, { hiddenSize, vocabSize, tiedTo, tiedHead });
  // a buffer that is all zeros in most files, and missing in some
  return model.weights.has("final_logits_bias")
    ? add(logits, weight(model, "final_logits_bias", [1, vocabSize]))
    : logits;
}

/** The words of a text with the start token in front and its last token gone. */
function shiftedRight(model: Module, words: Value, config: BartConfig): Value {
  const start = wordsOf(model, fromData("int64", BigInt64Array.of(BigInt(config.startId)), [1, 1]), config);
  return concat([perRow(start, words), slice(words, { axes: [1], starts: [0], ends: [-1] })], 1);
}

/** States [batch, sequence, hidden] at the last end token of each row: [batch, hidden]. */
function stateAtLastEnd(states: Value, inputIds: Value, { vocabSize, endId }: BartConfig): Value {
  const columns = mul(
    idsThat(inputIds, vocabSize, (id) => id === endId),
    columnsOf(states, 1),
  );
  return stateWhere(states, equal(columns, reduceMax(columns, [1], true)));
}

/** out_proj(tanh(dense(x))) */
function classify(model: Module, x: Value, { hiddenSize, labels }: BartConfig): Value {
  return inside(model, "classification_head", (head) => {
    const dense = tanh(linear(head, "dense", x, { inFeatures: hiddenSize, outFeatures: hiddenSize, bias: true }));
    const count = labels ?? head.weights.shapeOf(pathOf(head, "out_proj.weight"))[0];
    return linear(head, "out_proj", dense, { inFeatures: hiddenSize, outFeatures: count, bias: true });
  });
}
