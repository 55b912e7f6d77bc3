import { add, cast, div, mul, reduceSum, split, unsqueeze, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { attend, splitHeads } from "../components/attention.ts";
import { columnsOf, maskValues } from "../components/columns.ts";
import { embedding } from "../components/embeddings.ts";
import { flatHeads } from "../components/flat-heads.ts";
import { classifier, countLabels, firstToken, languageHead } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { nearbyBias } from "../components/mask.ts";
import { inside, type Module } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { type Rotation, rotate, rotationAt } from "../components/rope.ts";
import { type Rope, readRopeFields } from "../components/rope-config.ts";
import { encoderTasks, type TextInputs, textEncoder } from "../components/text-encoder.ts";
import { type ConfigReader, readConfigFields } from "../config-reader.ts";
import { readLayerTypes } from "../decoder-config.ts";
import { defineFamily } from "../family.ts";

interface ModernBertConfig {
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  readonly normBias: boolean;
  readonly attentionBias: boolean;
  readonly mlpBias: boolean;
  /** Per layer, how far a query sees to either side; undefined: everything. */
  readonly distances: readonly (number | undefined)[];
  readonly globalRope: Rope;
  readonly localRope: Rope;
  readonly headActivation: (x: Value) => Value;
  readonly headBias: boolean;
  readonly decoderBias: boolean;
  readonly pooling: "cls" | "mean";
  readonly tied: boolean;
  readonly labels: number | undefined;
}

const wordEmbeddings = "model.embeddings.tok_embeddings.weight";

/**
 * ModernBERT: pre-norm encoder with rotary positions and a gated MLP, in which two layers of three see only their
 * neighbourhood and turn with a base of their own; the first layer has no norm before attention.
 * Source: Warner et al. 2024, arXiv:2412.13663.
 */
export const modernbert = defineFamily<ModernBertConfig>({
  name: "modernbert",
  source: "arXiv:2412.13663",
  modelTypes: ["modernbert"],
  architectures: {
    ModernBertModel: "feature-extraction",
    ModernBertForMaskedLM: "fill-mask",
    ModernBertForSequenceClassification: "text-classification",
    ModernBertForTokenClassification: "token-classification",
    ModernBertForQuestionAnswering: "question-answering",
  },
  tasks: encoderTasks,
  basePrefix: "model.",
  unneeded: [/^head\.(dense|norm)\.(weight|bias)$/, /^(decoder|classifier|qa_outputs)\.(weight|bias)$/],

  readConfig(config) {
    const hiddenSize = config.size("hidden_size", { default: 768 });
    const heads = config.size("num_attention_heads", { default: 12 });
    if (hiddenSize % (2 * heads) !== 0) {
      throw config.refuse("num_attention_heads", `a divisor of half of hidden_size (${hiddenSize})`);
    }
    const layers = config.size("num_hidden_layers", { default: 22, max: 10000 });
    const pooling = config.text("classifier_pooling") ?? "cls";
    if (pooling !== "cls" && pooling !== "mean") throw config.refuse("classifier_pooling", `"cls" or "mean"`);
    config.only("position_embedding_type", ["absolute", "sans_pos"], "positions are rotary");
    // training, and how the reference library computes
    for (const field of ["deterministic_flash_attn", "initializer_cutoff_factor", "reference_compile"])
      config.value(field);
    for (const field of ["repad_logits_with_grad", "sparse_pred_ignore_index", "sparse_prediction"])
      config.value(field);
    for (const field of ["cls_token_id", "max_position_embeddings", "layer_norm_eps"]) config.value(field);
    return {
      vocabSize: config.size("vocab_size", { default: 50368 }),
      hiddenSize,
      intermediateSize: config.size("intermediate_size", { default: 1152 }),
      layers,
      heads,
      activation: readActivation(config, "hidden_activation", "gelu"),
      epsilon: config.number("norm_eps", { default: 1e-5 }),
      normBias: config.flag("norm_bias", false),
      attentionBias: config.flag("attention_bias", false),
      mlpBias: config.flag("mlp_bias", false),
      distances: readDistances(config, layers),
      ...readRopes(config),
      headActivation: readActivation(config, "classifier_activation", "gelu"),
      headBias: config.flag("classifier_bias", false),
      decoderBias: config.flag("decoder_bias", true),
      pooling,
      tied: config.flag("tie_word_embeddings", true),
      labels: countLabels(config),
    };
  },

  headNames: ({ tied }, task) =>
    task === "fill-mask" ? { head: "decoder", embedding: wordEmbeddings, tied } : undefined,

  build(options) {
    const { config, model, dtype, tiedHead } = options;
    const { hiddenSize, vocabSize, labels, tied, pooling } = config;
    const head = (x: Value) =>
      inside(model, "head", (module) => {
        const shape = { inFeatures: hiddenSize, outFeatures: hiddenSize, bias: config.headBias };
        return normed(module, "norm", config.headActivation(linear(module, "dense", x, shape)), config);
      });
    return textEncoder(options, {
      tokenTypes: false,
      hiddenSize,
      labels,
      encode: (inputs) => inside(model, "model", (base) => encode(base, inputs, config, dtype)),
      fillMask: (last) =>
        languageHead(model, "decoder", head(last), {
          hiddenSize,
          vocabSize,
          tiedTo: tied ? wordEmbeddings : undefined,
          tiedHead,
          bias: config.decoderBias,
        }),
      classify(last, { attentionMask }) {
        const pooled = pooling === "cls" ? firstToken(last) : meanOfReal(last, maskValues(attentionMask));
        return classifier(model, head(pooled), { hiddenSize, labels });
      },
      tokens: head,
      answers: "classifier",
    });
  },
});

/** How far each layer sees: `layer_types`, or every `global_attn_every_n_layers`-th layer everything. */
function readDistances(config: ConfigReader, layers: number): (number | undefined)[] {
  const distance = Math.floor(config.size("local_attention", { default: 128 }) / 2);
  const every = config.size("global_attn_every_n_layers", { default: 3 });
  const types = readLayerTypes(config, layers);
  return Array.from({ length: layers }, (_, layer) => {
    const isGlobal = types === undefined ? layer % every === 0 : types[layer] === "full_attention";
    return isGlobal ? undefined : distance;
  });
}

/** One rope for each kind of layer: by name inside `rope_parameters`, or `global_rope_theta` and `local_rope_theta`. */
function readRopes(config: ConfigReader): { globalRope: Rope; localRope: Rope } {
  config.only("rope_scaling", [], "rope scaling is not built for modernbert");
  const nested = config.nested("rope_parameters");
  const kind = (field: string, theta: number, thetaField: string) =>
    readRopeFields(config, nested?.nested(field) ?? readConfigFields({}, config.file), { theta, thetaField });
  const ropes = {
    globalRope: kind("full_attention", 160000, "global_rope_theta"),
    localRope: kind("sliding_attention", 10000, "local_rope_theta"),
  };
  nested?.finish(new Set());
  return ropes;
}

function normed(module: Module, name: string, x: Value, { hiddenSize, epsilon, normBias }: ModernBertConfig): Value {
  return layerNorm(module, name, x, { size: hiddenSize, epsilon, bias: normBias });
}

function encode(
  base: Module,
  { inputIds, attentionMask }: TextInputs,
  config: ModernBertConfig,
  dtype: "float32" | "float16",
): Value {
  const { vocabSize, hiddenSize, heads, distances, globalRope, localRope } = config;
  const columns = columnsOf(maskValues(attentionMask), 1);
  const turnAt = (rope: Rope) => rotationAt(base, { columns }, rope, hiddenSize / heads);
  const [globalTurn, localTurn] = [turnAt(globalRope), turnAt(localRope)];
  let x = inside(base, "embeddings", (module) =>
    normed(module, "norm", embedding(module, "tok_embeddings", inputIds, [vocabSize, hiddenSize]), config),
  );
  for (const [layer, distance] of distances.entries()) {
    const place =
      distance === undefined
        ? { rotation: globalTurn, attentionMask }
        : { rotation: localTurn, scoreBias: nearbyBias(attentionMask, distance, dtype) };
    x = inside(base, `layers.${layer}`, (module) => block(module, x, { layer, ...place }, config));
  }
  return normed(base, "final_norm", x, config);
}

interface Place {
  readonly layer: number;
  readonly rotation: Rotation;
  readonly attentionMask?: Value;
  readonly scoreBias?: Value;
}

/** x + attention(norm(x)), then x + mlp(norm(x)); the first layer's attention reads x as it is */
function block(module: Module, x: Value, place: Place, config: ModernBertConfig): Value {
  const attentionInput = place.layer === 0 ? x : normed(module, "attn_norm", x, config);
  const middle = add(
    x,
    inside(module, "attn", (self) => attention(self, attentionInput, place, config)),
  );
  const mlpInput = normed(module, "mlp_norm", middle, config);
  return add(
    middle,
    inside(module, "mlp", (inner) => mlp(inner, mlpInput, config)),
  );
}

function attention(self: Module, x: Value, { rotation, ...masks }: Place, config: ModernBertConfig): Value {
  const { hiddenSize, heads, attentionBias: bias } = config;
  const headDim = hiddenSize / heads;
  const fused = linear(self, "Wqkv", x, { inFeatures: hiddenSize, outFeatures: 3 * hiddenSize, bias });
  const [query, key, value] = split(fused, 3, -1);
  const turn = (states: Value) => flatHeads(rotate(splitHeads(states, heads, headDim), rotation), hiddenSize);
  const mixed = attend(self, { query: turn(query), key: turn(key), value }, { heads, headDim, ...masks });
  return linear(self, "Wo", mixed, { inFeatures: hiddenSize, outFeatures: hiddenSize, bias });
}

/** Wo(activation(input) · gate) */
function mlp(
  module: Module,
  x: Value,
  { hiddenSize, intermediateSize, activation, mlpBias: bias }: ModernBertConfig,
): Value {
  const widen = { inFeatures: hiddenSize, outFeatures: 2 * intermediateSize, bias };
  const [through, gate] = split(linear(module, "Wi", x, widen), 2, -1);
  const narrow = { inFeatures: intermediateSize, outFeatures: hiddenSize, bias };
  return linear(module, "Wo", mul(activation(through), gate), narrow);
}

/** Mean over the real tokens: [batch, sequence, hidden], [batch, sequence] → [batch, hidden]; sums in float32. */
function meanOfReal(x: Value, mask: Value): Value {
  const states = cast(x, "float32");
  const sum = reduceSum(mul(states, unsqueeze(mask, [2])), [1], false);
  return cast(div(sum, reduceSum(mask, [1], true)), x.dtype);
}
