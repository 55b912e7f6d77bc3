import { add, cast, concat, expand, input, shapeOf, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { selfAttention } from "../components/attention.ts";
import { classifier, countLabels, firstToken, logitsOutput } from "../components/heads.ts";
import { linear } from "../components/linear.ts";
import { inside, type Module, weight } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { type ImageSize, patchEmbedding, readImageSize } from "../components/patch-embedding.ts";
import { defineFamily } from "../family.ts";

interface VitConfig {
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

/**
 * Vision Transformer: image patches and a class token with learned positions through pre-norm blocks; the classifier
 * reads the class token after the last norm.
 * Source: Dosovitskiy et al. 2020, arXiv:2010.11929.
 */
export const vit = defineFamily<VitConfig>({
  name: "vit",
  source: "arXiv:2010.11929",
  modelTypes: ["vit"],
  architectures: { ViTForImageClassification: "image-classification", ViTModel: "feature-extraction" },
  tasks: ["image-classification", "feature-extraction"],
  basePrefix: "vit.",
  unneeded: [/^(vit\.)?pooler\.dense\.(weight|bias)$/, /^classifier\.(weight|bias)$/, /embeddings\.mask_token$/],

  readConfig(config) {
    const hiddenSize = config.size("hidden_size", { default: 768 });
    const heads = config.size("num_attention_heads", { default: 12 });
    if (hiddenSize % heads !== 0)
      throw config.refuse("num_attention_heads", `a divisor of hidden_size (${hiddenSize})`);
    const image = readImageSize(config, "image_size", 224);
    const patch = readImageSize(config, "patch_size", 16);
    if (patch[0] > image[0] || patch[1] > image[1])
      throw config.refuse("patch_size", `at most the image (${image.join(" x ")})`);
    return {
      hiddenSize,
      intermediateSize: config.size("intermediate_size", { default: 3072 }),
      layers: config.size("num_hidden_layers", { default: 12, max: 10000 }),
      heads,
      image,
      patch,
      channels: config.size("num_channels", { default: 3, max: 65536 }),
      qkvBias: config.flag("qkv_bias", true),
      activation: readActivation(config, "hidden_act", "gelu"),
      epsilon: config.number("layer_norm_eps", { default: 1e-12, min: 0 }),
      poolerSize: config.size("pooler_output_size", { default: hiddenSize }),
      poolerActivation: readActivation(config, "pooler_act", "tanh"),
      labels: countLabels(config),
    };
  },

  build({ config, model, task, dtype }) {
    const { hiddenSize, image, channels, epsilon, poolerSize, poolerActivation, labels } = config;
    const pixelValues = input("pixel_values", "float32", ["batch_size", channels, ...image]);
    const pixels = cast(pixelValues, dtype);

    const last = inside(model, "vit", (base) => {
      let x = inside(base, "embeddings", (module) => embeddings(module, pixels, config));
      for (let layer = 0; layer < config.layers; layer++) {
        x = inside(base, `encoder.layer.${layer}`, (module) => block(module, x, config));
      }
      return layerNorm(base, "layernorm", x, { size: hiddenSize, epsilon });
    });

    if (task === "image-classification") {
      const logits = classifier(model, firstToken(last), { hiddenSize, labels });
      return { inputs: [pixelValues], outputs: { logits: logitsOutput(logits) } };
    }
    const outputs: Record<string, Value> = { last_hidden_state: logitsOutput(last) };
    if (model.weights.has("vit.pooler.dense.weight")) {
      const pooled = inside(model, "vit.pooler", (pooler) =>
        poolerActivation(
          linear(pooler, "dense", firstToken(last), { inFeatures: hiddenSize, outFeatures: poolerSize, bias: true }),
        ),
      );
      outputs.pooler_output = logitsOutput(pooled);
    }
    return { inputs: [pixelValues], outputs };
  },
});

/** [class token; patches] + positions: [batch, 1 + patches, hidden] */
function embeddings(module: Module, pixels: Value, config: VitConfig): Value {
  const { hiddenSize, image, patch, channels } = config;
  const patches = inside(module, "patch_embeddings", (inner) =>
    patchEmbedding(inner, "projection", pixels, { channels, patch, hiddenSize }),
  );
  const batch = shapeOf(pixels, { start: 0, end: 1 });
  const classToken = expand(weight(module, "cls_token", [1, 1, hiddenSize]), [batch, 1, hiddenSize]);
  const count = Math.floor(image[0] / patch[0]) * Math.floor(image[1] / patch[1]);
  return add(concat([classToken, patches], 1), weight(module, "position_embeddings", [1, 1 + count, hiddenSize]));
}

/** x + attention(norm(x)), then x + mlp(norm(x)) */
function block(module: Module, x: Value, config: VitConfig): Value {
  const { hiddenSize, intermediateSize, heads, qkvBias, activation, epsilon } = config;
  const norm = { size: hiddenSize, epsilon };
  const normed = layerNorm(module, "layernorm_before", x, norm);
  const mixed = inside(module, "attention.attention", (self) =>
    selfAttention(self, normed, { hiddenSize, heads, bias: qkvBias }),
  );
  const output = linear(module, "attention.output.dense", mixed, {
    inFeatures: hiddenSize,
    outFeatures: hiddenSize,
    bias: true,
  });
  const middle = add(output, x);
  const widened = linear(module, "intermediate.dense", layerNorm(module, "layernorm_after", middle, norm), {
    inFeatures: hiddenSize,
    outFeatures: intermediateSize,
    bias: true,
  });
  return add(
    linear(module, "output.dense", activation(widened), {
      inFeatures: intermediateSize,
      outFeatures: hiddenSize,
      bias: true,
    }),
    middle,
  );
}
