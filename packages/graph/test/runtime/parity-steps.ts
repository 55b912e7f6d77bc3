import { createRandom, fromData, normal, type Tensor } from "@loomweight/tensor";
import {
  add,
  gather,
  layerNormalization,
  log,
  matMul,
  mul,
  type Runtime,
  reduceMean,
  reduceSum,
  relu,
  softmax,
  sub,
  type Value,
} from "../../src/index.ts";
import { type Loss, train } from "../../src/training/index.ts";
import { adam } from "./../training/optimizers.ts";

/** A small training that touches what real ones do; each gives its losses and trained weights. */
interface Case {
  readonly parameters: Record<string, Tensor>;
  readonly batches: readonly Record<string, Tensor>[];
  readonly loss: Loss;
}

const random = createRandom(11, "parity");
const weight = (name: string, shape: number[], deviation = 0.4) => normal(shape, random.child(name), { deviation });
const ids = (name: string, count: number, below: number) => {
  const words = new Uint32Array(count);
  random.child(name).uint32sInto(words);
  return Int32Array.from(words, (word) => word % below);
};

/** Mean of -log softmax at the targets, by a mask of ones: [rows, classes]. */
function crossEntropy(logits: Value, oneHot: Value): Value {
  const picked = reduceSum(mul(softmax(logits), oneHot), [1], false);
  return sub(0, reduceMean(log(picked), undefined, false));
}

function oneHotTargets(name: string, rows: number, classes: number): Tensor {
  const out = new Float32Array(rows * classes);
  for (const [row, id] of ids(name, rows, classes).entries()) out[row * classes + id] = 1;
  return fromData("float32", out, [rows, classes]);
}

export const parityCases: Record<string, Case> = {
  mlp: {
    parameters: { w1: weight("w1", [6, 16]), b1: weight("b1", [16]), w2: weight("w2", [16, 4]) },
    batches: [0, 1, 2].map((i) => ({ x: weight(`x${i}`, [8, 6], 1), t: oneHotTargets(`t${i}`, 8, 4) })),
    loss: (p, { x, t }) => crossEntropy(matMul(relu(add(matMul(x, p.w1), p.b1)), p.w2), t),
  },
  embedding: {
    parameters: { table: weight("table", [11, 8]), scale: weight("scale", [8]), bias: weight("bias", [8]) },
    batches: [0, 1, 2].map((i) => ({
      ids: fromData("int32", ids(`ids${i}`, 12, 11), [12]),
      t: oneHotTargets(`et${i}`, 12, 8),
    })),
    loss: (p, { ids: at, t }) => crossEntropy(layerNormalization(gather(p.table, at), p.scale, p.bias), t),
  },
};

/** Losses and weights of all cases, as plain numbers. */
export async function runParityCases(runtime: Runtime): Promise<Record<string, number[]>> {
  const results: Record<string, number[]> = {};
  for (const [name, { parameters, batches, loss }] of Object.entries(parityCases)) {
    const training = await train({
      runtime,
      parameters,
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
