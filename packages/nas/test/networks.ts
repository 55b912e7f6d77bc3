import { add, type GraphValue, gelu, input, reduceMean, relu, type Value } from "@loomweight/graph";
import { batchNorm, convolution, embedding, linear } from "@loomweight/graph/nn";
import {
  choice,
  convolutionSpace,
  defineSpace,
  embeddingSpace,
  fromDepth,
  linearSpace,
  type NetworkModel,
  normSpace,
  product,
  type Space,
} from "../src/index.ts";

/** A space with a model over it, small enough to compute every network. */
export interface Example {
  readonly name: string;
  readonly space: Space;
  readonly model: NetworkModel;
  readonly inputs: Readonly<Record<string, GraphValue>>;
}

/** "float64" for evaluation here, "float32" for onnxruntime. */
type Dtype = "float32" | "float64";

/** Convolutions of decided width and kernel, one of them depthwise, batch normalization, a decided operation. */
export function convolutional(dtype: Dtype): Example {
  const [width, kernel] = [choice("width", [1, 2, 4]), choice("kernel", [1, 3, 5])];
  const operation = choice("operation", [0, 1]);
  const space = defineSpace(
    {
      ...convolutionSpace("stem", { inputs: 2, outputs: width, kernel }),
      ...convolutionSpace("depthwise", { inputs: width, outputs: width, kernel, depthwise: true }),
      ...normSpace("norm", { size: width }),
      "norm.running_mean": { axes: [width] },
      "norm.running_var": { axes: [width] },
      ...linearSpace("head", { inputs: width, outputs: 3 }),
    },
    [operation],
  );
  const model: NetworkModel = (network, { image }) => {
    const { weights, size } = network;
    const padding = (size(kernel) - 1) / 2;
    let h: Value = relu(convolution(weights, "stem", image, { padding }));
    h = batchNorm(weights, weights, "norm", h, { training: true }).output;
    h = network.mix(operation, (_, index) => (index === 0 ? relu(h) : h));
    h = convolution(weights, "depthwise", h, { padding, groups: size(width) });
    return { logits: linear(weights, "head", reduceMean(h, [2, 3], false)) };
  };
  return { name: "convolutions", space, model, inputs: { image: input("image", dtype, [2, 2, 5, 5]) } };
}

/** A transformer of decided width, ratio, number of heads (which divide the width) and depth. */
export function transformer(): Example {
  const [width, heads] = [choice("width", [4, 8]), choice("heads", [1, 2])];
  const depth = choice("depth", [1, 2]);
  const ratio = choice("ratio", [1, 2]);
  const block = (i: number) => ({
    ...normSpace(`blocks.${i}.norm1`, { size: width }),
    ...Object.assign(
      {},
      ...["q", "k", "v", "o"].map((name) => linearSpace(`blocks.${i}.${name}`, { inputs: width, outputs: width })),
    ),
    ...normSpace(`blocks.${i}.norm2`, { size: width, bias: false }),
    ...linearSpace(`blocks.${i}.up`, { inputs: width, outputs: product(ratio, width) }),
    ...linearSpace(`blocks.${i}.down`, { inputs: product(ratio, width), outputs: width }),
  });
  const space = defineSpace(
    {
      ...embeddingSpace("embed", { count: 5, size: width }),
      ...block(0),
      ...fromDepth(depth, 2, block(1)),
      ...normSpace("norm", { size: width }),
      ...linearSpace("head", { inputs: width, outputs: 5 }),
    },
    [heads],
  );
  const model: NetworkModel = (network, { tokens }) => {
    const { weights } = network;
    const embedded = embedding(weights, "embed", tokens);
    const h = network.stack(depth, embedded, (x, i) => {
      const at = (name: string) => `blocks.${i}.${name}`;
      const normed = network.layerNorm(at("norm1"), x);
      const [q, k, v] = ["q", "k", "v"].map((name) => linear(weights, at(name), normed));
      const attended = network.attention(q, k, v, { heads, width, causal: true });
      const y = add(x, linear(weights, at("o"), attended));
      const hidden = gelu(linear(weights, at("up"), network.rmsNorm(at("norm2"), y)));
      return add(y, linear(weights, at("down"), hidden));
    });
    return { logits: linear(weights, "head", network.layerNorm("norm", h)) };
  };
  return { name: "a transformer", space, model, inputs: { tokens: input("tokens", "int32", [2, 3]) } };
}

/** Heads of a fixed size, as AutoFormer has them: q, k and v have as many rows as the decided number of heads needs. */
export function fixedHeads(dtype: Dtype): Example {
  const heads = choice("heads", [1, 2, 3]);
  const inner = product(heads, 2);
  const space = defineSpace({
    ...Object.assign({}, ...["q", "k", "v"].map((name) => linearSpace(name, { inputs: 4, outputs: inner }))),
    ...linearSpace("o", { inputs: inner, outputs: 4 }),
  });
  const model: NetworkModel = (network, { x }) => {
    const [q, k, v] = ["q", "k", "v"].map((name) => linear(network.weights, name, x));
    return { y: linear(network.weights, "o", network.attention(q, k, v, { heads, width: inner })) };
  };
  return { name: "heads of a fixed size", space, model, inputs: { x: input("x", dtype, [2, 3, 4]) } };
}
