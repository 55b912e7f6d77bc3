import { add, cast, conv, gather, gelu, input, sub, transpose, type Value } from "@loomweight/graph";
import {
  type BartLayersConfig,
  bartDecoderLayers,
  bartEncoderLayers,
  bartNorm,
  readBartLayers,
} from "../components/bart-layers.ts";
import { embedding } from "../components/embeddings.ts";
import { languageHead, logitsOutput } from "../components/heads.ts";
import { triangularBias } from "../components/mask.ts";
import { inside, type Module, weight } from "../components/module.ts";
import {
  type LayerCache,
  type Seq2SeqDecoder,
  seq2seqGraph,
  seq2seqInputs,
  tokenColumns,
} from "../components/seq2seq.ts";
import { defineFamily, type FamilyBuild } from "../family.ts";

interface WhisperConfig extends BartLayersConfig {
  readonly vocabSize: number;
  readonly melBins: number;
  /** Encoder states of one window of sound; the window has twice as many frames. */
  readonly sourcePositions: number;
  readonly targetPositions: number;
  readonly tied: boolean;
}

const words = "model.decoder.embed_tokens.weight";

/**
 * Whisper: two convolutions over a mel spectrogram, then an encoder–decoder with norms before each branch; keys have no
 * bias, the head is the table of words. Every window of sound has the full length, so nothing is masked.
 * Source: Radford et al. 2022, arXiv:2212.04356.
 */
export const whisper = defineFamily<WhisperConfig>({
  name: "whisper",
  source: "arXiv:2212.04356",
  modelTypes: ["whisper"],
  architectures: { WhisperForConditionalGeneration: "automatic-speech-recognition" },
  tasks: ["automatic-speech-recognition"],
  encoderDecoder: true,
  basePrefix: "model.",
  unneeded: [],

  readConfig(config) {
    const layers = readBartLayers(config, {
      hiddenSize: 384,
      stack: { layers: 4, heads: 6, intermediateSize: 1536 },
    });
    // masking of spectrograms in training, other classes' heads, word timestamps, and a scale that no code reads
    for (const field of ["apply_spec_augment", "mask_feature_length", "mask_feature_min_masks", "mask_feature_prob"]) {
      config.value(field);
    }
    for (const field of ["mask_time_length", "mask_time_min_masks", "mask_time_prob"]) config.value(field);
    for (const field of ["classifier_proj_size", "median_filter_width", "use_weighted_layer_sum"]) config.value(field);
    for (const field of ["scale_embedding", "is_decoder"]) config.value(field);
    return {
      ...layers,
      keyBias: false,
      norm: "before",
      vocabSize: config.size("vocab_size", { default: 51865 }),
      melBins: config.size("num_mel_bins", { default: 80, max: 65536 }),
      sourcePositions: config.size("max_source_positions", { default: 1500 }),
      targetPositions: config.size("max_target_positions", { default: 448 }),
      tied: config.flag("tie_word_embeddings", true),
    };
  },

  headNames: ({ tied }) => ({ head: "proj_out", embedding: words, tied }),

  build(options) {
    const { config, model, dtype, cacheDtype } = options;
    const { hiddenSize, melBins, sourcePositions } = config;
    const features = input("input_features", "float32", ["batch_size", melBins, 2 * sourcePositions]);
    const states = inside(model, "model.encoder", (encoder) => encode(encoder, cast(features, dtype), config));
    const { layers, heads } = config.decoder;
    const headDim = hiddenSize / heads;
    const { inputs, decoder } = seq2seqInputs({
      layers,
      heads,
      headDim,
      hiddenSize,
      masked: false,
      dtype,
      cacheDtype,
      gpuOnly: model.gpuOnly,
    });
    const { last, presents } = inside(model, "model.decoder", (module) => decode(module, decoder, config));
    return {
      graphs: {
        encoder_model: { inputs: [features], outputs: { last_hidden_state: logitsOutput(states) } },
        decoder_model_merged: seq2seqGraph(inputs, headOf(options, last), presents, cacheDtype),
      },
    };
  },
});

/** Mel spectrogram [batch, bins, frames] → [batch, frames / 2, hidden] */
function encode(encoder: Module, features: Value, config: WhisperConfig): Value {
  const { hiddenSize, melBins, sourcePositions } = config;
  const filtered = (name: string, x: Value, inner: number, stride: number) =>
    inside(encoder, name, (module) => {
      const kernel = weight(module, "weight", [hiddenSize, inner, 3]);
      return gelu(conv(x, kernel, weight(module, "bias", [hiddenSize]), { strides: [stride], pads: [1, 1] }), "none");
    });
  const halved = filtered("conv2", filtered("conv1", features, melBins, 1), hiddenSize, 2);
  const positions = weight(encoder, "embed_positions.weight", [sourcePositions, hiddenSize]);
  const x = add(transpose(halved, [0, 2, 1]), positions);
  return bartNorm(encoder, "layer_norm", bartEncoderLayers(encoder, x, undefined, config), config);
}

function decode(
  module: Module,
  decoder: Seq2SeqDecoder,
  config: WhisperConfig,
): { last: Value; presents: LayerCache[] } {
  const { vocabSize, hiddenSize, targetPositions } = config;
  const words = embedding(module, "embed_tokens", decoder.inputIds, [vocabSize, hiddenSize]);
  const { queries, keys } = tokenColumns(decoder, words);
  const rows = cast(sub(queries, 1), "int32");
  const x = add(words, gather(weight(module, "embed_positions.weight", [targetPositions, hiddenSize]), rows, 0));
  const scoreBias = triangularBias(queries, keys, module.weights.dtype);
  const { last, presents } = bartDecoderLayers(module, x, decoder, scoreBias, config);
  return { last: bartNorm(module, "layer_norm", last, config), presents };
}

function headOf({ config, model, tiedHead }: FamilyBuild<WhisperConfig>, last: Value): Value {
  const { hiddenSize, vocabSize, tied } = config;
  return languageHead(model, "proj_out", last, { hiddenSize, vocabSize, tiedTo: tied ? words : undefined, tiedHead });
}
