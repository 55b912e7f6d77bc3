import type { Dataset } from "@loomweight/data";
import { add, matMul, mul, relu, transpose, type Value } from "@loomweight/graph";
import { initLinear, linear } from "@loomweight/graph/nn";
import { createRandom, fromData, type Tensor, uniform, zeros } from "@loomweight/tensor";
import type { Model, Weights } from "./fit.ts";

export interface ClusterTask {
  /** Inputs; default 24. */
  readonly width?: number;
  readonly classes: number;
  /** Gaussian clusters of each class. */
  readonly clusters: number;
  /** Deviation of the centres; that of samples around them is 1. */
  readonly spread: number;
  /** Share of training labels drawn at random; default 0. */
  readonly labelNoise?: number;
}

/** Samples of Gaussian clusters: `image` [count, width], `label` [count]; `name` tells tasks, `part` training from test. */
export function clusterSamples(
  seed: number,
  name: string,
  part: string,
  count: number,
  { width = 24, classes, clusters, spread, labelNoise = 0 }: ClusterTask,
): Dataset {
  const random = createRandom(seed, `clusters/${name}`);
  const centres = new Float64Array(classes * clusters * width);
  random.child("centres").normalsInto(centres, { deviation: spread });
  const own = random.child(part);
  const x = new Float32Array(count * width);
  own.child("noise").normalsInto(x);
  const label = new Int32Array(count);
  for (let n = 0; n < count; n++) {
    const cluster = Math.floor(own.child("cluster").uniform(n) * classes * clusters);
    for (let d = 0; d < width; d++) x[n * width + d] += centres[cluster * width + d];
    const random = own.child("noisy").uniform(n) < labelNoise;
    label[n] = random ? Math.floor(own.child("label").uniform(n) * classes) : cluster % classes;
  }
  return { image: fromData("float32", x, [count, width]), label: fromData("int32", label, [count]) };
}

/** Layers "fc1", "fc2", … of these sizes with ReLU, without a head. */
export function initBackbone(seed: number, sizes: readonly number[]): Weights {
  const random = createRandom(seed, "backbone");
  return Object.assign(
    {},
    ...sizes.slice(1).map((outputs, i) => initLinear(random, `fc${i + 1}`, { inputs: sizes[i], outputs })),
  ) as Weights;
}

/** A head "<name>.weight", "<name>.bias" that stays as it is drawn. */
export function frozenHead(seed: number, name: string, width: number, classes: number): Record<string, Tensor> {
  return initLinear(createRandom(seed, "heads"), name, { inputs: width, outputs: classes });
}

/** Logits of the backbone's `depth` layers and a head; `layer` may replace a layer's product. */
export function clusterModel(
  depth: number,
  head: string,
  layer?: (weights: Readonly<Record<string, Value>>, name: string, x: Value) => Value,
): Model {
  return (weights, image) => {
    let h = image;
    for (let i = 1; i <= depth; i++) h = relu(layer?.(weights, `fc${i}`, h) ?? linear(weights, `fc${i}`, h));
    return linear(weights, head, h);
  };
}

/** First factors of a LoRA of these layers ([out, in]): A uniform, B of zeros; `name` keys the draw. */
export function initLora(
  seed: number,
  name: string,
  layers: Readonly<Record<string, readonly [number, number]>>,
  rank: number,
): Weights {
  const random = createRandom(seed, `lora/${name}`);
  return Object.fromEntries(
    Object.entries(layers).flatMap(([layer, [outputs, inputs]]) => {
      const bound = Math.sqrt(3 / inputs);
      return [
        [`${layer}.lora_A`, uniform([rank, inputs], random.child(layer), { low: -bound, high: bound })],
        [`${layer}.lora_B`, zeros([outputs, rank])],
      ];
    }),
  );
}

/** The network with a LoRA of every layer beside it, scaled by `scaling`. */
export function loraModel(depth: number, head: string, scaling = 1): Model {
  return clusterModel(depth, head, (weights, name, x) => {
    const [a, b] = [weights[`${name}.lora_A`], weights[`${name}.lora_B`]];
    const low = matMul(matMul(x, transpose(a, [1, 0])), transpose(b, [1, 0]));
    return add(linear(weights, name, x), scaling === 1 ? low : mul(low, scaling));
  });
}
