import { createRandom, fromData, normal, type Tensor } from "@loomweight/tensor";
import { add, maxPool, type Runtime, relu, reshape } from "../../src/index.ts";
import * as nn from "../../src/nn/index.ts";
import { type Loss, train } from "../../src/training/index.ts";
import { adam } from "./../training/optimizers.ts";

/** A small training that touches what real ones do; each gives its losses and trained weights. */
interface Case {
  readonly parameters: Record<string, Tensor>;
  readonly batches: readonly Record<string, Tensor>[];
  readonly loss: Loss;
  readonly buffers?: Record<string, Tensor>;
}

const random = createRandom(11, "parity");
const weight = (name: string, shape: number[], deviation = 0.4) => normal(shape, random.child(name), { deviation });
const ids = (name: string, count: number, below: number) => {
  const words = new Uint32Array(count);
  random.child(name).uint32sInto(words);
  return Int32Array.from(words, (word) => word % below);
};

const classes = (name: string, rows: number, below: number): Tensor =>
  fromData("int32", ids(name, rows, below), [rows]);
const images = nn.initConvolution(random, "conv", { inputs: 1, outputs: 4, kernel: [3, 3], bias: false }); // a bias before batch norm has gradient 0, which Adam blows up from noise
const block = {
  ...nn.initEmbedding(random, "embed", { count: 11, size: 8 }),
  ...nn.initNorm("norm", { size: 8 }),
  ...nn.initLinear(random, "attn.q_proj", { inputs: 8, outputs: 8 }),
  ...nn.initLinear(random, "attn.k_proj", { inputs: 8, outputs: 4 }),
  ...nn.initLinear(random, "attn.v_proj", { inputs: 8, outputs: 4 }),
  ...nn.initLinear(random, "attn.o_proj", { inputs: 8, outputs: 8 }),
  ...nn.initLinear(random, "mlp.gate_proj", { inputs: 8, outputs: 16, bias: false }),
  ...nn.initLinear(random, "mlp.up_proj", { inputs: 8, outputs: 16, bias: false }),
  ...nn.initLinear(random, "mlp.down_proj", { inputs: 16, outputs: 8, bias: false }),
};

export const parityCases: Record<string, Case> = {
  mlp: {
    parameters: {
      ...nn.initLinear(random, "fc1", { inputs: 6, outputs: 16 }),
      ...nn.initLinear(random, "fc2", { inputs: 16, outputs: 4 }),
    },
    batches: [0, 1, 2].map((i) => ({ x: weight(`x${i}`, [8, 6], 1), t: classes(`t${i}`, 8, 4) })),
    loss: (p, { x, t }, { random: draws }) =>
      nn.crossEntropy(nn.linear(p, "fc2", nn.dropout(relu(nn.linear(p, "fc1", x)), 0.1, draws, "hidden")), t),
  },
  transformer: {
    parameters: block,
    batches: [0, 1].map((i) => ({
      ids: fromData("int32", ids(`ids${i}`, 12, 11), [2, 6]),
      t: fromData("int32", ids(`n${i}`, 12, 8), [2, 6]),
    })),
    loss: (p, { ids: at, t }) => {
      const x = nn.embedding(p, "embed", at);
      const attended = nn.attention(p, "attn", nn.layerNorm(p, "norm", x), {
        heads: 2,
        keyValueHeads: 1,
        causal: true,
        rope: {},
      });
      const y = add(x, attended);
      return nn.linearCrossEntropy(add(y, nn.gatedMlp(p, "mlp", y)), p["embed.weight"], t, { parts: 3 });
    },
  },
  convolution: {
    parameters: {
      ...images,
      ...nn.initNorm("bn", { size: 4 }),
      ...nn.initLinear(random, "out", { inputs: 64, outputs: 3 }),
    },
    buffers: nn.initRunningStatistics("bn", { size: 4 }),
    batches: [0, 1].map((i) => ({ x: weight(`im${i}`, [5, 1, 8, 8], 1), t: classes(`ct${i}`, 5, 3) })),
    loss: (p, { x, t }, { buffers }) => {
      const convolved = nn.convolution(p, "conv", x, { padding: 1 });
      const { output, updates } = nn.batchNorm(p, buffers, "bn", convolved, { training: true });
      const pooled = maxPool(relu(output), [2, 2], { strides: [2, 2] });
      return { loss: nn.crossEntropy(nn.linear(p, "out", reshape(pooled, [5, 64])), t), updates };
    },
  },
};

/** Losses and weights of all cases, as plain numbers. */
export async function runParityCases(runtime: Runtime): Promise<Record<string, number[]>> {
  const results: Record<string, number[]> = {};
  for (const [name, { parameters, buffers, batches, loss }] of Object.entries(parityCases)) {
    const training = await train({
      runtime,
      parameters,
      buffers,
      batches,
      loss,
      optimizer: adam,
      learningRate: 0.01,
      clip: { norm: 1 },
      ema: { decay: 0.9 },
    });
    const numbers: number[] = [];
    for await (const metrics of training) numbers.push(metrics.loss, metrics.gradientNorm ?? 0);
    for (const tensor of Object.values(await training.state.read())) numbers.push(...(tensor.data as Float32Array));
    await training.close();
    results[name] = numbers;
  }
  return results;
}
