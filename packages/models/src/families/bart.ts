import {
  add,
  cast,
  concat,
  equal,
  expand,
  gather,
  gatherND,
  input,
  mul,
  range,
  reduceMax,
  shapeOf,
  slice,
  sub,
  tanh,
  type Value,
} from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import {
  type BartLayersConfig,
  bartDecoderLayers,
  bartEncoderLayers,
  bartNorm,
  readBartLayers,
} from "../components/bart-layers.ts";
import { embedding } from "../components/embeddings.ts";
import { countLabels, languageHead, logitsOutput } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { length, triangularBias } from "../components/mask.ts";
import { inside, type Module, pathOf, weight } from "../components/module.ts";
import { type LayerCache, type Seq2SeqDecoder, seq2seqGraph, seq2seqInputs } from "../components/seq2seq.ts";
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
      const decoderIds = shiftedRight(inputIds, config.startId);
      const { last } = decode(
        model,
        { inputIds: decoderIds, encoderStates: states, encoderMask: attentionMask, ...uncached(decoderIds) },
        config,
      );
      const logits = classify(model, stateAtLastEnd(last, inputIds, config.endId), config);
      return { inputs: [inputIds, attentionMask], outputs: { logits: logitsOutput(logits) } };
    }
    const { layers, heads } = config.decoder;
    const { hiddenSize } = config;
    const headDim = hiddenSize / heads;
    const { inputs, decoder } = seq2seqInputs({ layers, heads, headDim, hiddenSize, masked: true, dtype, cacheDtype });
    const { last, presents } = decode(model, decoder, config);
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
    const columns = range(int32(0), length(inputIds), int32(1));
    return bartEncoderLayers(encoder, embeddings(model, encoder, inputIds, columns, config), attentionMask, config);
  });
}

function decode(model: Module, decoder: Seq2SeqDecoder, config: BartConfig): { last: Value; presents: LayerCache[] } {
  return inside(model, "model.decoder", (module) => {
    const { inputIds, queries, total } = decoder;
    const columns = range(sub(total, queries), total, int32(1));
    const x = embeddings(model, module, inputIds, columns, config);
    const scoreBias = triangularBias(queries, total, module.weights.dtype);
    return bartDecoderLayers(module, x, decoder, scoreBias, config);
  });
}

/** norm(word + position) */
function embeddings(model: Module, stack: Module, ids: Value, columns: Value, config: BartConfig): Value {
  const { vocabSize, positions, hiddenSize, embeddingScale } = config;
  const rows = embedding(model, "model.shared", ids, [vocabSize, hiddenSize]);
  const scaled = embeddingScale === 1 ? rows : mul(rows, embeddingScale);
  const table = weight(stack, "embed_positions.weight", [positions, hiddenSize]);
  const places = gather(table, add(columns, int32(positionOffset)), 0);
  return bartNorm(stack, "layernorm_embedding", add(scaled, places), config);
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

/** The text with the start token in front and its last token gone. */
function shiftedRight(inputIds: Value, startId: number): Value {
  const start = fromData("int64", BigInt64Array.of(BigInt(startId)), [1, 1]);
  const first = expand(start, [shapeOf(inputIds, { start: 0, end: 1 }), 1]);
  return concat([first, slice(inputIds, { axes: [1], starts: [0], ends: [-1] })], 1);
}

const uncached = (ids: Value) => ({ past: undefined, queries: length(ids), total: length(ids) });

/** States [batch, sequence, hidden] at the last end token of each row: [batch, hidden]. */
function stateAtLastEnd(states: Value, inputIds: Value, endId: number): Value {
  const isEnd = cast(equal(inputIds, fromData("int64", BigInt64Array.of(BigInt(endId)), [])), "int32");
  const columns = range(int32(0), length(inputIds), int32(1));
  return gatherND(states, cast(reduceMax(mul(isEnd, columns), [1], true), "int64"), 1);
}

/** out_proj(tanh(dense(x))) */
function classify(model: Module, x: Value, { hiddenSize, labels }: BartConfig): Value {
  return inside(model, "classification_head", (head) => {
    const dense = tanh(linear(head, "dense", x, { inFeatures: hiddenSize, outFeatures: hiddenSize, bias: true }));
    const count = labels ?? head.weights.shapeOf(pathOf(head, "out_proj.weight"))[0];
    return linear(head, "out_proj", dense, { inFeatures: hiddenSize, outFeatures: count, bias: true });
  });
}

const int32 = (value: number) => fromData("int32", Int32Array.of(value), []);
