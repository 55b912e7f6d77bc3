import {
  add,
  concat,
  cumSum,
  mul,
  reshape,
  resize,
  shapeOf,
  slice,
  split,
  transpose,
  type Value,
} from "@loomweight/graph";
import { activations, readActivation } from "../components/activation.ts";
import { selfAttention } from "../components/attention.ts";
import { meanInFloat32 } from "../components/float32.ts";
import { classifier, countLabels, firstToken } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { plainMlp } from "../components/mlp.ts";
import { inside, type Module, weight } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import {
  type ImageSize,
  patchGrid,
  patchGridEmbedding,
  readImageAndPatch,
  tokenPerImage,
} from "../components/patch-embedding.ts";
import { visionEncoder, visionTasks } from "../components/vision-encoder.ts";
import { defineFamily } from "../family.ts";

interface Dinov2Config {
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  /** Size that the table of positions is for. */
  readonly trainedImage: ImageSize;
  readonly patch: ImageSize;
  readonly channels: number;
  readonly qkvBias: boolean;
  readonly activation: (x: Value) => Value;
  readonly epsilon: number;
  readonly swiglu: boolean;
  readonly labels: number | undefined;
}

/**
 * DINOv2: ViT with a scale on each branch and a table of positions that is interpolated to the image, whose size is free.
 * Source: Oquab et al. 2023, arXiv:2304.07193.
 */
export const dinov2 = defineFamily<Dinov2Config>({
  name: "dinov2",
  source: "arXiv:2304.07193",
  modelTypes: ["dinov2"],
  architectures: { Dinov2Model: "image-feature-extraction", Dinov2ForImageClassification: "image-classification" },
  tasks: visionTasks,
  basePrefix: "dinov2.",
  unneeded: [/^classifier\.(weight|bias)$/, /embeddings\.mask_token$/],

  readConfig(config) {
    const hiddenSize = config.size("hidden_size", { default: 768 });
    const heads = config.size("num_attention_heads", { default: 12 });
    if (hiddenSize % heads !== 0)
      throw config.refuse("num_attention_heads", `a divisor of hidden_size (${hiddenSize})`);
    const { image, patch } = readImageAndPatch(config, { image: 224, patch: 14 });
    const swiglu = config.flag("use_swiglu_ffn", false);
    const wide = Math.floor(hiddenSize * config.number("mlp_ratio", { default: 4 }));
    // training, the first values of weights, and what only the backbone class reads
    for (const field of ["drop_path_rate", "layerscale_value", "use_mask_token", "apply_layernorm"])
      config.value(field);
    for (const field of ["out_features", "out_indices", "reshape_hidden_states", "stage_names"]) config.value(field);
    return {
      hiddenSize,
      intermediateSize: swiglu ? Math.floor((Math.floor((wide * 2) / 3) + 7) / 8) * 8 : wide,
      layers: config.size("num_hidden_layers", { default: 12, max: 10000 }),
      heads,
      trainedImage: image,
      patch,
      channels: config.size("num_channels", { default: 3, max: 65536 }),
      qkvBias: config.flag("qkv_bias", true),
      activation: readActivation(config, "hidden_act", "gelu"),
      epsilon: config.number("layer_norm_eps", { default: 1e-6, min: 0 }),
      swiglu,
      labels: countLabels(config),
    };
  },

  build(options) {
    const { config, model } = options;
    const { hiddenSize, channels, layers, epsilon, labels } = config;
    return visionEncoder(options, {
      channels,
      image: ["height", "width"],
      encode: (pixels) =>
        inside(model, "dinov2", (base) => {
          let x = inside(base, "embeddings", (module) => embeddings(module, pixels, config));
          for (let layer = 0; layer < layers; layer++) {
            x = inside(base, `encoder.layer.${layer}`, (module) => block(module, x, config));
          }
          return layerNorm(base, "layernorm", x, { size: hiddenSize, epsilon });
        }),
      pool: firstToken,
      classify(last) {
        const patches = slice(last, { axes: [1], starts: [1], ends: [Number.POSITIVE_INFINITY] });
        const pooled = concat([firstToken(last), meanInFloat32(patches, [1], false)], -1);
        return { logits: classifier(model, pooled, { hiddenSize: 2 * hiddenSize, labels }) };
      },
    });
  },
});

/** [class token; patches] + positions interpolated to the patches: [batch, 1 + patches, hidden] */
function embeddings(module: Module, pixels: Value, config: Dinov2Config): Value {
  const { hiddenSize, trainedImage, patch } = config;
  const grid = inside(module, "patch_embeddings", (inner) => patchGridEmbedding(inner, "projection", pixels, config));
  const patches = transpose(reshape(grid, [0, 0, -1]), [0, 2, 1]);
  const tokens = concat([tokenPerImage(module, "cls_token", pixels, hiddenSize), patches], 1);

  const [rows, columns] = patchGrid(trainedImage, patch);
  const table = weight(module, "position_embeddings", [1, 1 + rows * columns, hiddenSize]);
  // slices of constants, which onnxruntime computes when it loads the file; a split it would leave
  const forClass = slice(table, { axes: [1], starts: [0], ends: [1] });
  const forPatches = slice(table, { axes: [1], starts: [1], ends: [Number.POSITIVE_INFINITY] });
  const square = transpose(reshape(forPatches, [1, rows, columns, hiddenSize]), [0, 3, 1, 2]);
  // a running sum of one channel, of the grid's size: asked for the size of what a convolution gives, onnxruntime joins it in
  // another order for GPUs, on the CPU
  const channel = cumSum(slice(grid, { axes: [1], starts: [0], ends: [1] }), 0);
  const sizes = shapeOf(channel, { start: 2, end: 4 });
  const fitted = resize(square, {
    sizes,
    axes: [2, 3],
    mode: "cubic",
    coordinates: "half_pixel",
    cubicCoefficient: -0.75,
  });
  const positions = transpose(reshape(fitted, [1, hiddenSize, -1]), [0, 2, 1]);
  return add(tokens, concat([forClass, positions], 1));
}

/** x + λ₁ · attention(norm(x)), then x + λ₂ · mlp(norm(x)) */
function block(module: Module, x: Value, config: Dinov2Config): Value {
  const { hiddenSize, heads, qkvBias, epsilon } = config;
  const norm = { size: hiddenSize, epsilon };
  const scaled = (name: string, branch: Value) => mul(branch, weight(module, `${name}.lambda1`, [hiddenSize]));
  const normedInput = layerNorm(module, "norm1", x, norm);
  const mixed = inside(module, "attention.attention", (self) =>
    selfAttention(self, normedInput, { hiddenSize, heads, bias: qkvBias }),
  );
  const square = { inFeatures: hiddenSize, outFeatures: hiddenSize, bias: true };
  const middle = add(scaled("layer_scale1", linear(module, "attention.output.dense", mixed, square)), x);
  const normedMiddle = layerNorm(module, "norm2", middle, norm);
  const widened = inside(module, "mlp", (inner) =>
    config.swiglu
      ? swigluMlp(inner, normedMiddle, config)
      : plainMlp(inner, normedMiddle, { ...config, names: ["fc1", "fc2"], bias: true }),
  );
  return add(scaled("layer_scale2", widened), middle);
}

/** weights_out(silu(x₁) · x₂) with [x₁; x₂] = weights_in(x) */
function swigluMlp(module: Module, x: Value, { hiddenSize, intermediateSize }: Dinov2Config): Value {
  const widen = { inFeatures: hiddenSize, outFeatures: 2 * intermediateSize, bias: true };
  const [gate, up] = split(linear(module, "weights_in", x, widen), 2, -1);
  const narrow = { inFeatures: intermediateSize, outFeatures: hiddenSize, bias: true };
  return linear(module, "weights_out", mul(activations.silu(gate), up), narrow);
}
