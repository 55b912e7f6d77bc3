import { add, batchNormalization, conv, flatten, maxPool, relu, type Value } from "@loomweight/graph";
import { readActivation } from "../components/activation.ts";
import { meanInFloat32 } from "../components/float32.ts";
import { classifier, countLabels } from "../components/heads.ts";
import { inside, type Module, weight } from "../components/module.ts";
import { readStages, type Stages } from "../components/stages.ts";
import { visionEncoder, visionTasks } from "../components/vision-encoder.ts";
import { defineFamily } from "../family.ts";

interface ResnetConfig extends Stages {
  readonly channels: number;
  readonly embeddingSize: number;
  readonly bottleneck: boolean;
  /** Of the stem and after each sum; inside a layer it is always ReLU. */
  readonly activation: (x: Value) => Value;
  readonly downsampleFirst: boolean;
  /** Whether a bottleneck's stride is in its first convolution; otherwise in its second. */
  readonly strideFirst: boolean;
  readonly labels: number | undefined;
}

/**
 * ResNet: residual layers of convolutions with batch normalisation (its recorded statistics), basic or bottleneck.
 * Source: He et al. 2015, arXiv:1512.03385.
 */
export const resnet = defineFamily<ResnetConfig>({
  name: "resnet",
  source: "arXiv:1512.03385",
  modelTypes: ["resnet"],
  architectures: { ResNetForImageClassification: "image-classification", ResNetModel: "image-feature-extraction" },
  tasks: visionTasks,
  basePrefix: "resnet.",
  unneeded: [/num_batches_tracked$/, /^classifier\.1\.(weight|bias)$/],

  readConfig(config) {
    const type = config.text("layer_type") ?? "bottleneck";
    if (type !== "bottleneck" && type !== "basic") throw config.refuse("layer_type", `"basic" or "bottleneck"`);
    return {
      ...readStages(config, { depths: [3, 4, 6, 3], sizes: [256, 512, 1024, 2048] }),
      channels: config.size("num_channels", { default: 3, max: 65536 }),
      embeddingSize: config.size("embedding_size", { default: 64, max: 65536 }),
      bottleneck: type === "bottleneck",
      activation: readActivation(config, "hidden_act", "relu"),
      downsampleFirst: config.flag("downsample_in_first_stage", false),
      strideFirst: config.flag("downsample_in_bottleneck", false),
      labels: countLabels(config),
    };
  },

  build(options) {
    const { config, model } = options;
    const { channels, sizes, labels } = config;
    const pool = (last: Value) => meanInFloat32(last, [2, 3], true);
    return visionEncoder(options, {
      channels,
      image: ["height", "width"],
      encode: (pixels) => inside(model, "resnet", (base) => encode(base, pixels, config)),
      pool,
      classify(last) {
        const hiddenSize = sizes[sizes.length - 1];
        return { logits: classifier(model, flatten(pool(last), 1), { hiddenSize, labels, name: "classifier.1" }) };
      },
    });
  },
});

function encode(base: Module, pixels: Value, config: ResnetConfig): Value {
  const { channels, embeddingSize, depths, sizes, activation, downsampleFirst } = config;
  let x = inside(base, "embedder", (module) => {
    const stem = { in: channels, out: embeddingSize, kernel: 7, stride: 2 };
    const wide = activation(normedConvolution(module, "embedder", pixels, stem));
    return maxPool(wide, [3, 3], { strides: [2, 2], pads: [1, 1, 1, 1] });
  });
  for (const [stage, depth] of depths.entries()) {
    for (let layer = 0; layer < depth; layer++) {
      const before = stage === 0 ? embeddingSize : sizes[stage - 1];
      const shape = {
        in: layer === 0 ? before : sizes[stage],
        out: sizes[stage],
        stride: layer === 0 && (stage > 0 || downsampleFirst) ? 2 : 1,
      };
      x = inside(base, `encoder.stages.${stage}.layers.${layer}`, (module) => residual(module, x, shape, config));
    }
  }
  return x;
}

interface LayerShape {
  readonly in: number;
  readonly out: number;
  readonly stride: number;
}

/** activation(convolutions(x) + shortcut(x)) */
function residual(module: Module, x: Value, shape: LayerShape, config: ResnetConfig): Value {
  const projected = shape.in !== shape.out || shape.stride !== 1;
  const shortcut = projected ? normedConvolution(module, "shortcut", x, { ...shape, kernel: 1 }) : x;
  const deep = inside(module, "layer", (inner) => (config.bottleneck ? bottleneck : basic)(inner, x, shape, config));
  return config.activation(add(deep, shortcut));
}

/** Two convolutions of 3 × 3 */
function basic(module: Module, x: Value, { in: inner, out, stride }: LayerShape): Value {
  const first = relu(normedConvolution(module, "0", x, { in: inner, out, kernel: 3, stride }));
  return normedConvolution(module, "1", first, { in: out, out, kernel: 3, stride: 1 });
}

/** 1 × 1 to a quarter of the channels, 3 × 3, 1 × 1 back */
function bottleneck(module: Module, x: Value, shape: LayerShape, { strideFirst }: ResnetConfig): Value {
  const narrow = Math.floor(shape.out / 4);
  const strides = strideFirst ? [shape.stride, 1] : [1, shape.stride];
  const first = normedConvolution(module, "0", x, { in: shape.in, out: narrow, kernel: 1, stride: strides[0] });
  const middle = { in: narrow, out: narrow, kernel: 3, stride: strides[1] };
  const second = normedConvolution(module, "1", relu(first), middle);
  return normedConvolution(module, "2", relu(second), { in: narrow, out: shape.out, kernel: 1, stride: 1 });
}

/** A convolution without bias that keeps the size (but for its stride), then batch normalisation. */
function normedConvolution(
  parent: Module,
  name: string,
  x: Value,
  shape: LayerShape & { readonly kernel: number },
): Value {
  const { in: inner, out, kernel, stride } = shape;
  return inside(parent, name, (module) => {
    const side = Math.floor(kernel / 2);
    const filtered = conv(x, weight(module, "convolution.weight", [out, inner, kernel, kernel]), undefined, {
      strides: [stride, stride],
      pads: [side, side, side, side],
    });
    const [scale, bias, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map((each) =>
      weight(module, `normalization.${each}`, [out]),
    );
    return batchNormalization(filtered, scale, bias, mean, variance, { epsilon: 1e-5 });
  });
}
