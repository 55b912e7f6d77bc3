import { add, type Value } from "@loomweight/graph";
import type { ConfigReader } from "../config-reader.ts";
import { readActivation } from "./activation.ts";
import { type Attended, selfAttention } from "./attention.ts";
import { linear } from "./linear.ts";
import { plainMlp } from "./mlp.ts";
import { inside, type Module } from "./module.ts";
import { layerNorm } from "./norms.ts";
import { attendEncoder, attendPast, type LayerCache, type Seq2SeqDecoder } from "./seq2seq.ts";

/** What BART and Whisper state: two stacks of one hidden size. */
export interface BartLayersConfig {
  readonly hiddenSize: number;
  readonly activation: (x: Value) => Value;
  readonly encoder: StackConfig;
  readonly decoder: StackConfig;
  /** Bias of k_proj; all other projections have one. */
  readonly keyBias: boolean;
  /** Norms before each branch, or after each sum. */
  readonly norm: "before" | "after";
}

export interface StackConfig {
  readonly layers: number;
  readonly heads: number;
  readonly intermediateSize: number;
}

/** Norm epsilon of both; no field says it. */
const epsilon = 1e-5;

/** Reads the sizes of both stacks. Throws `INVALID_CONFIG`. */
export function readBartLayers(
  config: ConfigReader,
  defaults: { readonly hiddenSize: number; readonly stack: StackConfig },
): Pick<BartLayersConfig, "hiddenSize" | "activation" | "encoder" | "decoder"> {
  const hiddenSize = config.size("d_model", { default: defaults.hiddenSize });
  const { layers, heads, intermediateSize } = defaults.stack;
  const stack = (side: "encoder" | "decoder"): StackConfig => {
    const field = `${side}_attention_heads`;
    const count = config.size(field, { default: heads });
    if (hiddenSize % count !== 0) throw config.refuse(field, `a divisor of d_model (${hiddenSize})`);
    return {
      layers: config.size(`${side}_layers`, { default: layers, max: 10000 }),
      heads: count,
      intermediateSize: config.size(`${side}_ffn_dim`, { default: intermediateSize }),
    };
  };
  // a name of encoder_layers that old files repeat
  config.value("num_hidden_layers");
  return {
    hiddenSize,
    activation: readActivation(config, "activation_function", "gelu"),
    encoder: stack("encoder"),
    decoder: stack("decoder"),
  };
}

export function bartNorm(module: Module, name: string, x: Value, { hiddenSize }: BartLayersConfig): Value {
  return layerNorm(module, name, x, { size: hiddenSize, epsilon });
}

/** The encoder's `layers.N`: x [batch, source, hidden] → the same shape. */
export function bartEncoderLayers(
  encoder: Module,
  x: Value,
  attentionMask: Value | undefined,
  config: BartLayersConfig,
): Value {
  const { hiddenSize, keyBias } = config;
  const { heads, layers } = config.encoder;
  let states = x;
  for (let layer = 0; layer < layers; layer++) {
    states = inside(encoder, `layers.${layer}`, (block) => {
      const attended = branch(block, "self_attn_layer_norm", states, config, (normed) =>
        inside(block, "self_attn", (self) => {
          const names = ["q_proj", "k_proj", "v_proj"] as const;
          const bias = [true, keyBias, true] as const;
          const mixed = selfAttention(self, normed, { hiddenSize, heads, bias, names, attentionMask });
          return project(self, "out_proj", mixed, config);
        }),
      );
      return feedForward(block, attended, config, config.encoder);
    });
  }
  return states;
}

/** The decoder's `layers.N`: attention to the new and cached tokens, to the encoder, then the MLP. */
export function bartDecoderLayers(
  module: Module,
  x: Value,
  decoder: Seq2SeqDecoder,
  scoreBias: Value,
  config: BartLayersConfig,
): { last: Value; presents: LayerCache[] } {
  const { layers, heads } = config.decoder;
  const size = { heads, headDim: config.hiddenSize / heads };
  const presents: LayerCache[] = [];
  let states = x;
  for (let layer = 0; layer < layers; layer++) {
    states = inside(module, `layers.${layer}`, (block) => {
      const own = branchWithCache(block, "self_attn_layer_norm", states, config, (normed) =>
        inside(block, "self_attn", (self) => {
          const [query, key, value] = ["q_proj", "k_proj", "v_proj"].map((name) => project(self, name, normed, config));
          const past = decoder.past?.[layer].decoder;
          const { output, present } = attendPast(self, { query, key, value }, past, { ...size, scoreBias });
          return { output: project(self, "out_proj", output, config), present };
        }),
      );
      const crossed = branchWithCache(block, "encoder_attn_layer_norm", own.output, config, (normed) =>
        inside(block, "encoder_attn", (cross) => {
          const query = project(cross, "q_proj", normed, config);
          const keyOrValue = (source: Value, what: "key" | "value") =>
            project(cross, `${what[0]}_proj`, source, config);
          const { output, present } = attendEncoder(cross, query, decoder, layer, keyOrValue, size);
          return { output: project(cross, "out_proj", output, config), present };
        }),
      );
      presents.push({ decoder: own.present, encoder: crossed.present });
      return feedForward(block, crossed.output, config, config.decoder);
    });
  }
  return { last: states, presents };
}

/** x + part(norm(x)), or norm(x + part(x)) */
function branch(
  block: Module,
  norm: string,
  x: Value,
  config: BartLayersConfig,
  part: (normed: Value) => Value,
): Value {
  if (config.norm === "before") return add(x, part(bartNorm(block, norm, x, config)));
  return bartNorm(block, norm, add(x, part(x)), config);
}

function branchWithCache(
  block: Module,
  norm: string,
  x: Value,
  config: BartLayersConfig,
  part: (normed: Value) => Attended,
): Attended {
  const before = config.norm === "before";
  const { output, present } = part(before ? bartNorm(block, norm, x, config) : x);
  const sum = add(x, output);
  return { output: before ? sum : bartNorm(block, norm, sum, config), present };
}

function project(attention: Module, name: string, x: Value, { hiddenSize, keyBias }: BartLayersConfig): Value {
  const bias = name === "k_proj" ? keyBias : true;
  return linear(attention, name, x, { inFeatures: hiddenSize, outFeatures: hiddenSize, bias });
}

function feedForward(block: Module, x: Value, config: BartLayersConfig, { intermediateSize }: StackConfig): Value {
  const { hiddenSize, activation } = config;
  const shape = { hiddenSize, intermediateSize, activation, bias: true, names: ["fc1", "fc2"] as const };
  return branch(block, "final_layer_norm", x, config, (normed) => plainMlp(block, normed, shape));
}
