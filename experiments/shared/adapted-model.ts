import type { AdapterSpec } from "@loomweight/adapters/attach";
import { type Attachment, attach } from "@loomweight/adapters/attach";
import { batches, type Dataset, sampleCount } from "@loomweight/data";
import { assemble, input, lazyTensor, type OnnxModel, parameter, type Runtime, type Value } from "@loomweight/graph";
import { accuracy } from "@loomweight/graph/nn";
import { adam, cosineSchedule } from "@loomweight/optim";
import type { DType, Tensor } from "@loomweight/tensor";
import { type AdapterLoss, type DataStart, trainAdapter } from "@loomweight/train";
import type { Weights } from "./fit.ts";

/** A frozen model as a graph: what its weights and inputs by name compute. */
export function frozenModel(
  weights: Weights,
  inputs: Readonly<Record<string, { readonly dtype: DType; readonly shape: readonly (number | string)[] }>>,
  build: (weights: Readonly<Record<string, Value>>, inputs: Readonly<Record<string, Value>>) => Record<string, Value>,
): OnnxModel {
  const given = Object.entries(inputs).map(([name, { dtype, shape }]) => input(name, dtype, shape));
  const own = Object.fromEntries(
    Object.entries(weights).map(([name, tensor]) => [name, parameter(name, lazyTensor(tensor))]),
  );
  const outputs = build(own, Object.fromEntries(Object.keys(inputs).map((name, i) => [name, given[i]])));
  return assemble({ name: "frozen", inputs: given, outputs });
}

export interface AdaptOptions extends Partial<Pick<DataStart, "statistics">> {
  readonly runtime: Runtime;
  readonly model: OnnxModel;
  readonly adapter: AdapterSpec;
  readonly data: Dataset;
  readonly loss: AdapterLoss;
  /** Passes over the data; default one batch of all of it a step. */
  readonly epochs?: number;
  readonly steps?: number;
  readonly batchSize?: number;
  readonly rate: number;
  /** Default constant. */
  readonly schedule?: "constant" | "cosine";
  readonly seed: number;
}

export interface Adapted {
  readonly attachment: Attachment;
  readonly parameters: Readonly<Record<string, Tensor>>;
  /** Of every step, before its update. */
  readonly losses: readonly number[];
  readonly trained: number;
}

/** Trains an adapter on a frozen model by Adam. */
export async function adapt(options: AdaptOptions): Promise<Adapted> {
  const { runtime, model, adapter, statistics, data, loss, rate, seed } = options;
  const { batchSize = sampleCount(data) } = options;
  const each = Math.floor(sampleCount(data) / batchSize);
  const steps = options.steps ?? each * (options.epochs ?? 1);
  const training = await trainAdapter({
    runtime,
    model,
    adapter,
    statistics,
    objective: loss,
    optimizer: adam(),
    learningRate: options.schedule === "cosine" ? cosineSchedule({ rate, steps }) : rate,
    batches: (skip) => batches(data, { batchSize, epochs: Math.ceil(steps / each), shuffle: seed, rest: "drop", skip }),
    steps,
    seed,
  });
  const losses: number[] = [];
  for await (const metrics of training) losses.push(metrics.loss);
  const { attachment, trainable } = training;
  const parameters = await training.parameters();
  await training.close();
  return { attachment, parameters, losses, trained: trainable };
}

/** Per cent of the images whose label the adapted model gets right. */
export async function adaptedAccuracy(
  runtime: Runtime,
  { attachment, parameters }: Adapted,
  data: Dataset,
): Promise<number> {
  const { image, label } = data as { image: Tensor; label: Tensor };
  const values = Object.fromEntries(
    Object.entries(parameters).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]),
  );
  const x = input("image", image.dtype, image.shape);
  const y = input("label", label.dtype, label.shape);
  const { outputs } = attachment.instantiate({ parameters: values, inputs: { image: x } });
  const found = await runtime.evaluate({ share: accuracy(outputs.logits, y) }, { image, label, ...parameters });
  return 100 * Number((found.share.data as Float32Array)[0]);
}

/** The same before any training. */
export async function frozenAccuracy(runtime: Runtime, model: OnnxModel, data: Dataset): Promise<number> {
  const attachment = await attach(model, undefined, []);
  return adaptedAccuracy(runtime, { attachment, parameters: {}, losses: [], trained: 0 }, data);
}
