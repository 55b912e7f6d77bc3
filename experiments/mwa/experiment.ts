import { batches } from "@loomweight/data";
import { input, type Runtime } from "@loomweight/graph";
import { crossEntropy } from "@loomweight/graph/nn";
import { createRuntime, evaluate } from "@loomweight/graph/node";
import { train } from "@loomweight/graph/training";
import { type MetricWeightOptions, metricsWeightedAverage } from "@loomweight/merge";
import { adam } from "@loomweight/optim";
import type { Tensor } from "@loomweight/tensor";
import { clusterModel, clusterSamples, frozenHead, initBackbone, initLora, loraModel } from "../shared/clusters.ts";
import { fit, score, type Weights } from "../shared/fit.ts";
import { claim, collector, meanOf, type Results } from "../shared/report.ts";

const task = { classes: 6, clusters: 3, spread: 0.55, labelNoise: 0.2 };
const layers = { fc1: [32, 24], fc2: [32, 32] } as const;
const [rank, scaling, steps, every, batchSize] = [4, 2, 400, 50, 16];

const averages: Readonly<Record<string, MetricWeightOptions>> = {
  "plain mean": { penalty: 0 },
  "by loss, p = 1": { penalty: 1 },
  "by loss, p = 2": { penalty: 2 },
  "by loss, p = 5": { penalty: 5 },
  "by step, p = 1": { metric: "step", penalty: 1 },
};

interface Snapshot {
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly loss: number;
  readonly step: number;
}

/** A LoRA trained at a high constant rate; a checkpoint every 50 steps with the mean loss since the one before. */
async function snapshots(runtime: Runtime, seed: number, base: Weights): Promise<Snapshot[]> {
  const data = clusterSamples(seed, "target", "training", 600, task);
  const model = loraModel(2, "head", scaling);
  const training = await train({
    runtime,
    parameters: { ...base, ...initLora(seed, "", layers, rank) },
    trainable: (name) => name.includes("lora"),
    loss: (weights, { image, label }) => crossEntropy(model(weights, image), label, { ignore: null }),
    optimizer: adam(),
    learningRate: 2e-2,
    steps,
    batches: (skip) => batches(data, { batchSize, epochs: 20, shuffle: seed, rest: "drop", skip }),
    seed,
  });
  const found: Snapshot[] = [];
  let losses: number[] = [];
  for await (const { step, loss } of training) {
    losses.push(loss);
    if (step % every !== 0) continue;
    const all = Object.entries(await training.parameters()).filter(([name]) => name.includes("lora"));
    const mean = losses.reduce((sum, each) => sum + each, 0) / losses.length;
    found.push({ tensors: new Map(all), loss: mean, step });
    losses = [];
  }
  await training.close();
  return found;
}

/** Checkpoints of one LoRA run become one, weighed by what the run measured. */
export async function run(seeds: readonly number[]): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  for (const seed of seeds) {
    let base: Weights = { ...initBackbone(seed, [24, 32, 32]), ...frozenHead(seed, "head", 32, task.classes) };
    const before = clusterSamples(seed, "before", "training", 600, task);
    ({ weights: base } = await fit({
      runtime,
      model: clusterModel(2, "head"),
      weights: base,
      data: before,
      trainable: (name) => name.startsWith("fc"),
      epochs: 6,
      rate: 2e-3,
      seed,
    }));
    const own = await snapshots(runtime, seed, base);
    const test = clusterSamples(seed, "target", "test", 2000, { ...task, labelNoise: 0 });
    const model = loraModel(2, "head", scaling);
    const measure = async (tensors: ReadonlyMap<string, Tensor>) => {
      const weights = { ...base, ...Object.fromEntries(tensors) };
      const { image, label } = test as Record<"image" | "label", Tensor>;
      const [x, y] = [input("image", image.dtype, image.shape), input("label", label.dtype, label.shape)];
      const { loss } = await evaluate({ loss: crossEntropy(model(weights, x), y, { ignore: null }) }, { image, label });
      return { accuracy: await score(model, weights, test), loss: (loss.data as Float32Array)[0] };
    };
    const singles = [];
    for (const { tensors } of own) singles.push(await measure(tensors));
    found.add("last checkpoint", 0, singles[singles.length - 1]);
    const best = singles.reduce((a, b) => (b.accuracy > a.accuracy ? b : a));
    found.add("best checkpoint by test accuracy", 0, best);
    for (const [name, options] of Object.entries(averages)) {
      const byStep = options.metric === "step";
      const checkpoints = own.map(({ tensors, loss, step }) => ({ tensors, value: byStep ? step : loss }));
      const { tensors } = await metricsWeightedAverage(checkpoints, options);
      found.add(name, 0, await measure(tensors));
    }
  }
  await runtime.close();
  const rows = found.rows();
  const at = (name: string) => meanOf(rows, name);
  const least = Math.min(...Object.keys(averages).map(at));
  const claims = [
    claim("every average is at least 2 points better than the last checkpoint", least >= at("last checkpoint") + 2, {
      "worst average": least,
      "last checkpoint": at("last checkpoint"),
    }),
    claim("every average is at least as good as the best checkpoint", least >= at("best checkpoint by test accuracy"), {
      "worst average": least,
      "best checkpoint": at("best checkpoint by test accuracy"),
    }),
    claim(
      "weighing by loss (p = 1 or 2) is at least as good as the plain mean",
      Math.max(at("by loss, p = 1"), at("by loss, p = 2")) >= at("plain mean"),
      { "p = 1": at("by loss, p = 1"), "p = 2": at("by loss, p = 2"), "plain mean": at("plain mean") },
    ),
  ];
  return { title: "Eight checkpoints of one LoRA run: test accuracy", seeds, rows, claims };
}
