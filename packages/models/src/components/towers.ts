import {
  add,
  cast,
  div,
  exp,
  input,
  matMul,
  mul,
  reduceSum,
  reshape,
  sqrt,
  transpose,
  type Value,
} from "@loomweight/graph";
import type { ConfigReader } from "../config-reader.ts";
import { harmlessFields } from "../harmless-fields.ts";
import { readActivation } from "./activation.ts";
import { selfAttention } from "./attention.ts";
import { embedding, positionRows } from "./embeddings.ts";
import { linear } from "./linear.ts";
import { plainMlp } from "./mlp.ts";
import { inside, type Module } from "./module.ts";
import { layerNorm } from "./norms.ts";
import { type ImageSize, readImageAndPatch } from "./patch-embedding.ts";

/** What a tower of CLIP or SigLIP states. */
export interface TowerConfig {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
}

export interface TextTowerConfig extends TowerConfig {
  readonly vocabSize: number;
  readonly positions: number;
}

export interface VisionTowerConfig extends TowerConfig {
  readonly image: ImageSize;
  readonly patch: ImageSize;
  readonly channels: number;
}

export interface TowerDefaults {
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_attention_heads: number;
  readonly hidden_act: string;
  readonly layer_norm_eps: number;
}

/** Fields that old files repeat in each tower, and that no tower reads. */
const unreadFields = ["add_cross_attention", "is_decoder", "is_encoder_decoder", "pruned_heads", "tie_encoder_decoder"];
const alsoUnread = ["tie_word_embeddings", "projection_dim"];

/**
 * Reads one tower: the object `field` of config.json, with `read` for what only this tower has. A copy of its fields
 * that old files keep in `field`_dict must not contradict it.
 */
export function readTower<T>(
  config: ConfigReader,
  field: string,
  defaults: TowerDefaults,
  read: (tower: ConfigReader) => T,
): TowerConfig & T {
  const tower = config.nested(field);
  if (tower === undefined) throw config.refuse(field, "an object with the fields of this tower");
  requireCopy(config, field, tower);
  const size = (name: keyof TowerDefaults) => tower.size(name, { default: defaults[name] as number });
  const hiddenSize = size("hidden_size");
  const heads = size("num_attention_heads");
  if (hiddenSize % heads !== 0) throw tower.refuse("num_attention_heads", `a divisor of hidden_size (${hiddenSize})`);
  const shared = {
    hiddenSize,
    intermediateSize: size("intermediate_size"),
    layers: tower.size("num_hidden_layers", { default: 12, max: 10000 }),
    heads,
    activation: readActivation(tower, "hidden_act", defaults.hidden_act),
    epsilon: tower.number("layer_norm_eps", { default: defaults.layer_norm_eps, min: 0 }),
  };
  const own = read(tower);
  tower.finish(new Set([...harmlessFields, ...unreadFields, ...alsoUnread]));
  return { ...shared, ...own };
}

export function readTextTower(
  tower: ConfigReader,
  defaults: { readonly vocabSize: number; readonly positions: number },
) {
  return {
    vocabSize: tower.size("vocab_size", { default: defaults.vocabSize }),
    positions: tower.size("max_position_embeddings", { default: defaults.positions }),
  };
}

export function readVisionTower(tower: ConfigReader, defaults: { readonly patch: number }) {
  return {
    ...readImageAndPatch(tower, { image: 224, patch: defaults.patch }),
    channels: tower.size("num_channels", { default: 3, max: 65536 }),
  };
}

function requireCopy(config: ConfigReader, field: string, tower: ConfigReader): void {
  const copy = config.value(`${field}_dict`);
  if (copy === undefined) return;
  for (const [name, value] of Object.entries(copy as Record<string, unknown>)) {
    if (value === null || JSON.stringify(tower.value(name)) === JSON.stringify(value)) continue;
    throw config.refuse(`${field}_dict`, `absent, or what ${field} says (${name} differs)`);
  }
}

/** word + position: ids [batch, sequence] → [batch, sequence, hidden] */
export function textTowerEmbeddings(tower: Module, inputIds: Value, config: TextTowerConfig): Value {
  const { vocabSize, positions, hiddenSize: size } = config;
  return inside(tower, "embeddings", (module) => {
    const words = embedding(module, "token_embedding", inputIds, [vocabSize, size]);
    return add(words, positionRows(module, "position_embedding", words, [positions, size]));
  });
}

/** The layers `encoder.layers.N`: x + attention(norm(x)), then x + mlp(norm(x)). */
export function towerLayers(tower: Module, x: Value, config: TowerConfig, scoreBias?: Value): Value {
  const { hiddenSize, heads, epsilon } = config;
  const norm = { size: hiddenSize, epsilon };
  let states = x;
  for (let layer = 0; layer < config.layers; layer++) {
    states = inside(tower, `encoder.layers.${layer}`, (module) => {
      const normedInput = layerNorm(module, "layer_norm1", states, norm);
      const attended = inside(module, "self_attn", (self) => {
        const names = ["q_proj", "k_proj", "v_proj"] as const;
        const mixed = selfAttention(self, normedInput, { hiddenSize, heads, bias: true, names, scoreBias });
        return linear(self, "out_proj", mixed, { inFeatures: hiddenSize, outFeatures: hiddenSize, bias: true });
      });
      const middle = add(states, attended);
      return add(middle, towerMlp(module, layerNorm(module, "layer_norm2", middle, norm), config));
    });
  }
  return states;
}

/** `mlp`: fc2(activation(fc1(x))) */
export function towerMlp(parent: Module, x: Value, config: TowerConfig): Value {
  return inside(parent, "mlp", (mlp) => plainMlp(mlp, x, { ...config, names: ["fc1", "fc2"], bias: true }));
}

/** Rows of unit length: x / √(Σ x²) over the last axis, in float32. */
export function unitRows(x: Value): Value {
  const wide = cast(x, "float32");
  return div(wide, sqrt(reduceSum(mul(wide, wide), [-1], true)));
}

/**
 * exp(logitScale) · images · textsᵀ (+ logitBias): unit rows [images, d] and [texts, d] → logits of each image for each
 * text, and the other way round. Computed in float32: the scale of trained models is near 100.
 */
export function pairLogits(
  images: Value,
  texts: Value,
  logitScale: Value,
  logitBias?: Value,
): { logits_per_image: Value; logits_per_text: Value } {
  const [wideImages, wideTexts] = [cast(images, "float32"), cast(texts, "float32")];
  const scale = reshape(exp(cast(logitScale, "float32")), [1]);
  const scaled = mul(matMul(wideTexts, transpose(wideImages, [1, 0])), scale);
  const perText = logitBias === undefined ? scaled : add(scaled, reshape(cast(logitBias, "float32"), [1]));
  return { logits_per_image: transpose(perText, [1, 0]), logits_per_text: perText };
}

/** Inputs of a model of text and images: they come in batches of their own sizes. */
export function textInput(name: "input_ids" | "attention_mask") {
  return input(name, "int64", ["text_batch_size", "sequence_length"]);
}
