import { add, flatten, maxPool, relu, type Value } from "@loomweight/graph";
import {
  attention,
  batchNorm,
  convolution,
  crossEntropy,
  embedding,
  initConvolution,
  initEmbedding,
  initLinear,
  initNorm,
  initRunningStatistics,
  layerNorm,
  linear,
  linearCrossEntropy,
  mlp,
} from "@loomweight/graph/nn";
import type { Loss, Optimizer } from "@loomweight/graph/training";
import { adam, adamw } from "@loomweight/optim";
import { createRandom, fromData, normal, type Tensor } from "@loomweight/tensor";

/** One of the models of torch_steps.py: same shapes, same optimizer, a batch of random values. */
export interface BenchModel {
  readonly parameters: Record<string, Tensor>;
  readonly buffers?: Record<string, Tensor>;
  readonly loss: Loss;
  readonly optimizer: Optimizer;
  readonly learningRate: number;
  readonly batch: Record<string, Tensor>;
}

const random = createRandom(0, "bench");

function whole(shape: readonly number[], limit: number, name: string): Tensor {
  const count = shape.reduce((product, size) => product * size, 1);
  const draw = random.child(name);
  const values = Int32Array.from({ length: count }, (_, i) => Math.floor(draw.uniform(i) * limit));
  return fromData("int32", values, shape) as Tensor;
}

function mlpModel(): BenchModel {
  return {
    parameters: {
      ...initLinear(random, "fc1", { inputs: 784, outputs: 256 }),
      ...initLinear(random, "fc2", { inputs: 256, outputs: 10 }),
    },
    loss: (p, { x, y }) => crossEntropy(linear(p, "fc2", relu(linear(p, "fc1", x))), y, { ignore: null }),
    optimizer: adam(),
    learningRate: 1e-3,
    batch: { x: normal([64, 784], random.child("x")), y: whole([64], 10, "y") },
  };
}

function cnnModel(): BenchModel {
  const layers = [
    { name: "1", inputs: 1, outputs: 16 },
    { name: "2", inputs: 16, outputs: 32 },
  ];
  const parameters: Record<string, Tensor> = initLinear(random, "head", { inputs: 32 * 49, outputs: 10 });
  const buffers: Record<string, Tensor> = {};
  for (const { name, inputs, outputs } of layers) {
    Object.assign(parameters, initConvolution(random, `conv${name}`, { inputs, outputs, kernel: [3, 3], bias: false }));
    Object.assign(parameters, initNorm(`bn${name}`, { size: outputs }));
    Object.assign(buffers, initRunningStatistics(`bn${name}`, { size: outputs }));
  }
  return {
    parameters,
    buffers,
    loss(p, { x, y }, context) {
      const updates: Record<string, Value> = {};
      let h: Value = x;
      for (const { name } of layers) {
        const normed = batchNorm(p, context.buffers, `bn${name}`, convolution(p, `conv${name}`, h, { padding: 1 }), {
          training: true,
        });
        Object.assign(updates, normed.updates);
        h = maxPool(relu(normed.output), [2, 2], { strides: [2, 2] });
      }
      return { loss: crossEntropy(linear(p, "head", flatten(h)), y, { ignore: null }), updates };
    },
    optimizer: adam(),
    learningRate: 1e-3,
    batch: { x: normal([64, 1, 28, 28], random.child("x")), y: whole([64], 10, "y") },
  };
}

function gptModel({ vocabulary = 50257, width = 48, layers = 3, heads = 3, context = 128, rows = 8 } = {}): BenchModel {
  const parameters: Record<string, Tensor> = {
    ...initEmbedding(random, "wte", { count: vocabulary, size: width, deviation: 0.02 }),
    ...initEmbedding(random, "wpe", { count: context, size: width, deviation: 0.02 }),
    ...initNorm("ln", { size: width }),
  };
  for (let layer = 0; layer < layers; layer++) {
    const sizes = { q_proj: [1, 1], k_proj: [1, 1], v_proj: [1, 1], o_proj: [1, 1], fc1: [1, 4], fc2: [4, 1] };
    for (const [name, [inputs, outputs]] of Object.entries(sizes)) {
      const full = `h.${layer}.${name}`;
      Object.assign(parameters, initLinear(random, full, { inputs: inputs * width, outputs: outputs * width }));
    }
    for (const name of ["ln1", "ln2"]) Object.assign(parameters, initNorm(`h.${layer}.${name}`, { size: width }));
  }
  const positions = fromData(
    "int32",
    Int32Array.from({ length: context }, (_, i) => i),
    [context],
  );
  return {
    parameters,
    loss(p, { x, y }) {
      let h = add(embedding(p, "wte", x), embedding(p, "wpe", positions));
      for (let layer = 0; layer < layers; layer++) {
        h = add(h, attention(p, `h.${layer}`, layerNorm(p, `h.${layer}.ln1`, h), { heads, causal: true }));
        h = add(h, mlp(p, `h.${layer}`, layerNorm(p, `h.${layer}.ln2`, h)));
      }
      return linearCrossEntropy(layerNorm(p, "ln", h), p["wte.weight"], y, { ignore: null });
    },
    optimizer: adamw({ weightDecay: 0.1 }),
    learningRate: 3e-4,
    batch: { x: whole([rows, context], vocabulary, "x"), y: whole([rows, context], vocabulary, "y") },
  };
}

/** The models by the names that torch_steps.py knows. */
export const benchModels: Readonly<Record<string, () => BenchModel>> = {
  mlp: mlpModel,
  cnn: cnnModel,
  "gpt-nano": gptModel,
};
