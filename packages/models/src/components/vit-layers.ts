import { add, type Value } from "@loomweight/graph";
import type { ConfigReader } from "../config-reader.ts";
import { readActivation } from "./activation.ts";
import { selfAttention } from "./attention.ts";
import { countLabels, firstToken } from "./heads.ts";
import { linear } from "./linear.ts";
import { inside, type Module } from "./module.ts";
import { layerNorm } from "./norms.ts";
import { type ImageSize, readImageAndPatch } from "./patch-embedding.ts";

/** What ViT and DeiT state. */
export interface VitConfig {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly image: ImageSize;
  readonly patch: ImageSize;
  readonly channels: number;
  readonly qkvBias: boolean;
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  readonly poolerSize: number;
  readonly poolerActivation: (x: Value) => Value;
  readonly labels: number | undefined;
}

/** Reads the fields of ViT and DeiT. Throws `INVALID_CONFIG`. */
export function readVitConfig(config: ConfigReader): VitConfig {
  const hiddenSize = config.size("hidden_size", { default: 768 });
  const heads = config.size("num_attention_heads", { default: 12 });
  if (hiddenSize % heads !== 0) throw config.refuse("num_attention_heads", `a divisor of hidden_size (${hiddenSize})`);
  return {
    hiddenSize,
    intermediateSize: config.size("intermediate_size", { default: 3072 }),
    layers: config.size("num_hidden_layers", { default: 12, max: 10000 }),
    heads,
    ...readImageAndPatch(config, { image: 224, patch: 16 }),
    channels: config.size("num_channels", { default: 3, max: 65536 }),
    qkvBias: config.flag("qkv_bias", true),
    activation: readActivation(config, "hidden_act", "gelu"),
    epsilon: config.number("layer_norm_eps", { default: 1e-12, min: 0 }),
    poolerSize: config.size("pooler_output_size", { default: hiddenSize }),
    poolerActivation: readActivation(config, "pooler_act", "tanh"),
    labels: countLabels(config),
  };
}

/** The layers `encoder.layer.N` and the last norm: x [batch, tokens, hidden] → the same shape. */
export function vitLayers(base: Module, x: Value, config: VitConfig): Value {
  let states = x;
  for (let layer = 0; layer < config.layers; layer++) {
    states = inside(base, `encoder.layer.${layer}`, (module) => block(module, states, config));
  }
  return layerNorm(base, "layernorm", states, { size: config.hiddenSize, epsilon: config.epsilon });
}

/** x + attention(norm(x)), then x + mlp(norm(x)) */
function block(module: Module, x: Value, config: VitConfig): Value {
  const { hiddenSize, intermediateSize, heads, qkvBias, activation, epsilon } = config;
  const norm = { size: hiddenSize, epsilon };
  const normed = layerNorm(module, "layernorm_before", x, norm);
  const mixed = inside(module, "attention.attention", (self) =>
    selfAttention(self, normed, { hiddenSize, heads, bias: qkvBias }),
  );
  const square = { inFeatures: hiddenSize, outFeatures: hiddenSize, bias: true };
  const middle = add(linear(module, "attention.output.dense", mixed, square), x);
  const widen = { inFeatures: hiddenSize, outFeatures: intermediateSize, bias: true };
  const wide = linear(module, "intermediate.dense", layerNorm(module, "layernorm_after", middle, norm), widen);
  const narrow = { inFeatures: intermediateSize, outFeatures: hiddenSize, bias: true };
  return add(linear(module, "output.dense", activation(wide), narrow), middle);
}

/** activation(dense(first token)), where the weights have the pooler `name`: [batch, pooler size]. */
export function vitPooler(model: Module, name: string, last: Value, config: VitConfig): Value | undefined {
  const { hiddenSize, poolerSize, poolerActivation } = config;
  if (!model.weights.has(`${name}.dense.weight`)) return undefined;
  const shape = { inFeatures: hiddenSize, outFeatures: poolerSize, bias: true };
  return inside(model, name, (pooler) => poolerActivation(linear(pooler, "dense", firstToken(last), shape)));
}
