import { add, conv, mul, transpose, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { meanInFloat32 } from "../components/float32.ts";
import { classifier, countLabels } from "../components/heads.ts";
import { plainMlp } from "../components/mlp.ts";
import { inside, type Module, weight } from "../components/module.ts";
import { layerNorm } from "../components/norms.ts";
import { readStages, type Stages } from "../components/stages.ts";
import { visionEncoder, visionTasks } from "../components/vision-encoder.ts";
import { defineFamily } from "../family.ts";

interface ConvnextConfig extends Stages {
  readonly channels: number;
  readonly patch: number;
  readonly activation: (x: Value) => Value;
  /** Of the last norm; all others have 1e-6, as in the reference. */
  readonly epsilon: number;
  readonly layerScale: boolean;
  readonly labels: number | undefined;
}

const fixedEpsilon = 1e-6;

/**
 * ConvNeXt: depthwise 7 × 7 convolutions and pointwise MLPs in stages, each stage at half the resolution of the one before.
 * Source: Liu et al. 2022, arXiv:2201.03545.
 */
export const convnext = defineFamily<ConvnextConfig>({
  name: "convnext",
  source: "arXiv:2201.03545",
  modelTypes: ["convnext"],
  architectures: {
    ConvNextForImageClassification: "image-classification",
    ConvNextModel: "image-feature-extraction",
  },
  tasks: visionTasks,
  basePrefix: "convnext.",
  unneeded: [/^(convnext\.)?layernorm\.(weight|bias)$/, /^classifier\.(weight|bias)$/],

  readConfig(config) {
    const stages = readStages(config, { depths: [3, 3, 9, 3], sizes: [96, 192, 384, 768] });
    config.only("num_stages", [stages.depths.length], "one depth for each stage");
    config.value("image_size"); // images of any size
    return {
      ...stages,
      channels: config.size("num_channels", { default: 3, max: 65536 }),
      patch: config.size("patch_size", { default: 4, max: 65536 }),
      activation: readActivation(config, "hidden_act", "gelu"),
      epsilon: config.number("layer_norm_eps", { default: 1e-12, min: 0 }),
      layerScale: config.number("layer_scale_init_value", { default: 1e-6, min: 0 }) > 0,
      labels: countLabels(config),
    };
  },

  build(options) {
    const { config, model } = options;
    const { channels, sizes, epsilon, labels } = config;
    const hiddenSize = sizes[sizes.length - 1];
    const pool = (last: Value) => {
      const mean = meanInFloat32(last, [2, 3], false);
      return inside(model, "convnext", (base) => layerNorm(base, "layernorm", mean, { size: hiddenSize, epsilon }));
    };
    return visionEncoder(options, {
      channels,
      image: ["height", "width"],
      encode: (pixels) => inside(model, "convnext", (base) => encode(base, pixels, config)),
      pool,
      classify: (last) => ({ logits: classifier(model, pool(last), { hiddenSize, labels }) }),
    });
  },
});

function encode(base: Module, pixels: Value, config: ConvnextConfig): Value {
  const { channels, patch, sizes, depths } = config;
  let x = inside(base, "embeddings", (module) => {
    const shape = [sizes[0], channels, patch, patch] as const;
    return channelNorm(module, "layernorm", convolution(module, "patch_embeddings", pixels, shape), sizes[0]);
  });
  for (const [stage, depth] of depths.entries()) {
    x = inside(base, `encoder.stages.${stage}`, (module) => {
      let states = x;
      if (stage > 0) {
        const shape = [sizes[stage], sizes[stage - 1], 2, 2] as const;
        const normed = channelNorm(module, "downsampling_layer.0", states, sizes[stage - 1]);
        states = convolution(module, "downsampling_layer.1", normed, shape);
      }
      for (let layer = 0; layer < depth; layer++) {
        states = inside(module, `layers.${layer}`, (inner) => block(inner, states, sizes[stage], config));
      }
      return states;
    });
  }
  return x;
}

/** x + scale · mlp(norm(depthwise(x))) for x [batch, size, height, width] */
function block(module: Module, x: Value, size: number, { activation, layerScale }: ConvnextConfig): Value {
  const deep = inside(module, "dwconv", (inner) =>
    conv(x, weight(inner, "weight", [size, 1, 7, 7]), weight(inner, "bias", [size]), {
      pads: [3, 3, 3, 3],
      group: size,
    }),
  );
  const last = transpose(deep, [0, 2, 3, 1]); // channels last
  const normed = layerNorm(module, "layernorm", last, { size, epsilon: fixedEpsilon });
  const names = ["pwconv1", "pwconv2"] as const;
  const shape = { hiddenSize: size, intermediateSize: 4 * size, activation, bias: true, names };
  const wide = plainMlp(module, normed, shape);
  const scaled = layerScale ? mul(wide, weight(module, "layer_scale_parameter", [size])) : wide;
  return add(x, transpose(scaled, [0, 3, 1, 2]));
}

/** A convolution whose windows do not overlap; weight [out, in, k, k]. */
function convolution(
  parent: Module,
  name: string,
  x: Value,
  shape: readonly [out: number, inner: number, k: number, k2: number],
): Value {
  return inside(parent, name, (module) =>
    conv(x, weight(module, "weight", shape), weight(module, "bias", [shape[0]]), { strides: [shape[2], shape[3]] }),
  );
}

/** LayerNorm over the channels of x [batch, size, height, width]. */
function channelNorm(parent: Module, name: string, x: Value, size: number): Value {
  const last = transpose(x, [0, 2, 3, 1]);
  return transpose(layerNorm(parent, name, last, { size, epsilon: fixedEpsilon }), [0, 3, 1, 2]);
}
