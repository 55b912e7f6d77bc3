import { batches } from "@loomweight/data";
import { assemble, input, lazyTensor, parameter, type Runtime, relu, type Value } from "@loomweight/graph";
import { batchNorm, crossEntropy, initLinear, initNorm, initRunningStatistics, linear } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { train } from "@loomweight/graph/training";
import { adam, cosineSchedule } from "@loomweight/optim";
import {
  adapt,
  bnAdapt,
  cotta,
  type GraphClassifier,
  openGraphClassifier,
  type Prediction,
  tent,
} from "@loomweight/shift";
import { createRandom, fromData, type Random, type Tensor, toFloat64 } from "@loomweight/tensor";
import { claim, collector, meanOf, type Results } from "../shared/report.ts";
import { classes, classPatterns, dataset, pixels, samples, shifts } from "./patterns.ts";

export interface Scale {
  readonly cycles: number;
  /** Batches of 100 for each of the eight shifts in a cycle. */
  readonly batches: number;
}
export const whole: Scale = { cycles: 40, batches: 4 };
const batchSize = 100;
const hidden = ["fc1", "fc2"] as const;

type Values = Readonly<Record<string, Value>>;

function network(weights: Values, buffers: Values, image: Value, training: boolean) {
  const updates: Record<string, Value> = {};
  let h = image;
  for (const layer of hidden) {
    const normed = batchNorm(weights, buffers, `${layer}.norm`, linear(weights, layer, h), { training });
    Object.assign(updates, normed.updates);
    h = relu(normed.output);
  }
  return { logits: linear(weights, "head", h), updates };
}

/** An MLP 64-32-32-10 with batch normalization, trained on clean patterns, as an ONNX classifier. */
async function trainSource(runtime: Runtime, seed: number): Promise<GraphClassifier> {
  const random = createRandom(seed, "network");
  const sizes = { fc1: [pixels, 32], fc2: [32, 32], head: [32, classes] };
  const parameters: Record<string, Tensor> = {};
  const buffers: Record<string, Tensor> = {};
  for (const [name, [inputs, outputs]] of Object.entries(sizes)) {
    Object.assign(parameters, initLinear(random, name, { inputs, outputs }));
    if (name === "head") continue;
    Object.assign(parameters, initNorm(`${name}.norm`, { size: outputs }));
    Object.assign(buffers, initRunningStatistics(`${name}.norm`, { size: outputs }));
  }
  const data = dataset(samples(classPatterns(seed), seed, "training", 4000));
  const training = await train({
    runtime,
    parameters,
    buffers,
    loss(weights, { image, label }, { buffers: held }) {
      const { logits, updates } = network(weights, held, image, true);
      return { loss: crossEntropy(logits, label, { ignore: null }), updates };
    },
    optimizer: adam(),
    learningRate: cosineSchedule({ rate: 3e-3, steps: 20 * 80 }),
    batches: (skip) => batches(data, { batchSize: 50, epochs: 20, shuffle: seed, rest: "drop", skip }),
    seed,
  });
  await training.finish();
  const found = await training.parameters();
  await training.close();
  const values = Object.fromEntries(
    Object.entries(found).map(([name, tensor]) => [name, parameter(name, lazyTensor(tensor))]),
  );
  const image = input("image", "float32", ["batch", pixels]);
  const { logits } = network(values, values, image, false);
  return openGraphClassifier(assemble({ name: "source", inputs: [image], outputs: { logits } }), { runtime });
}

/** Gain, offset and noise: what a class survives. */
function augment(x: Tensor, random: Random): Tensor {
  const values = toFloat64(x);
  const noise = new Float64Array(values.length);
  random.child("noise").normalsInto(noise, { deviation: 0.15 });
  const [gain, offset] = [0.9 + 0.2 * random.uniform(0), 0.1 * random.child("offset").normal(0)];
  return fromData(
    "float32",
    Float32Array.from(values, (value, i) => gain * value + offset + noise[i]),
    x.shape,
  );
}

/** Errors in per cent of each cycle. */
async function errorsOn(
  adapter: { step(x: Tensor): Promise<Pick<Prediction, "probabilities">> },
  seed: number,
  { cycles, batches: count }: Scale,
): Promise<number[]> {
  const patterns = classPatterns(seed);
  const errors: number[] = [];
  for (let cycle = 0; cycle < cycles; cycle++) {
    let wrong = 0;
    let all = 0;
    for (const [name, change] of Object.entries(shifts(seed))) {
      for (let batch = 0; batch < count; batch++) {
        const key = `${name}/${batch}`; // the same samples in every cycle: what changes is the adapter
        const { image, label } = samples(patterns, seed, key, batchSize);
        const shifted = change(image, createRandom(seed, `shifted/${key}`));
        const x = fromData("float32", Float32Array.from(shifted), [batchSize, pixels]);
        const scores = toFloat64((await adapter.step(x)).probabilities);
        for (const [n, own] of label.entries()) {
          const row = scores.subarray(n * classes, (n + 1) * classes);
          wrong += Number(row.indexOf(Math.max(...row)) !== own);
          all++;
        }
      }
    }
    errors.push((100 * wrong) / all);
  }
  return errors;
}

/** Eight shifts after one another, again and again, without a reset: who adapts, and who holds out. `only`: a choice of the methods. */
export async function run(seeds: readonly number[], scale: Scale, only?: readonly string[]): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  for (const seed of seeds) {
    const model = await trainSource(runtime, seed);
    const learning = { augment, augmentations: 4, confidenceThreshold: 0.92, seed };
    const methods: Record<string, () => Promise<{ step(x: Tensor): Promise<Pick<Prediction, "probabilities">> }>> = {
      source: async () => ({ step: async (x) => ({ probabilities: (await model.classify(x)).logits }) }),
      "BN-adapt": () => adapt(bnAdapt, model),
      "TENT, rate 0.01": () => adapt(tent, model, { learningRate: 1e-2 }),
      "TENT, rate 0.03": () => adapt(tent, model, { learningRate: 3e-2 }),
      "TENT, rate 0.03, started over every 64 batches": () =>
        adapt(tent, model, { learningRate: 3e-2, resetEvery: 64 }),
      CoTTA: () => adapt(cotta, model, { ...learning, learningRate: 1e-3 }),
      "CoTTA, nothing restored": () => adapt(cotta, model, { ...learning, learningRate: 1e-3, restoreProbability: 0 }),
    };
    for (const [name, open] of Object.entries(methods)) {
      if (only !== undefined && !only.includes(name)) continue;
      const errors = await errorsOn(await open(), seed, scale);
      const all = errors.reduce((sum, error) => sum + error, 0) / errors.length;
      found.add(name, 0, { "all cycles": all, "first cycle": errors[0], "last cycle": errors[errors.length - 1] });
    }
    await model.close();
  }
  await runtime.close();
  const rows = found.rows();
  const at = (name: string, measure: string) => meanOf(rows, name, measure);
  const claims = [
    claim(
      "TENT's last cycle has at least half a point more errors than its first, at both rates",
      ["TENT, rate 0.01", "TENT, rate 0.03"].every((name) => at(name, "last cycle") >= at(name, "first cycle") + 0.5),
      {
        "0.03, first": at("TENT, rate 0.03", "first cycle"),
        "0.03, last": at("TENT, rate 0.03", "last cycle"),
        "0.01, first": at("TENT, rate 0.01", "first cycle"),
        "0.01, last": at("TENT, rate 0.01", "last cycle"),
      },
    ),
    claim(
      "CoTTA's last cycle has no more errors than its first",
      at("CoTTA", "last cycle") <= at("CoTTA", "first cycle"),
      {
        first: at("CoTTA", "first cycle"),
        last: at("CoTTA", "last cycle"),
      },
    ),
  ];
  const adapting = rows.map(({ name }) => name).filter((name) => name !== "source");
  claims.push(
    claim(
      "every adapting method has at least 10 points fewer errors than the source model",
      adapting.every((name) => at(name, "all cycles") < at("source", "all cycles") - 10),
      Object.fromEntries(rows.map(({ name }) => [name, at(name, "all cycles")])),
    ),
  );
  return { title: "Eight shifts in a cycle, forty cycles: errors in the last one", seeds, rows, claims };
}
