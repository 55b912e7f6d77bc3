import { batches, type Dataset, sampleCount } from "@loomweight/data";
import { add, input, type Runtime, type Value } from "@loomweight/graph";
import { accuracy, crossEntropy } from "@loomweight/graph/nn";
import { evaluate } from "@loomweight/graph/node";
import { train } from "@loomweight/graph/training";
import { adam, cosineSchedule } from "@loomweight/optim";
import type { Tensor } from "@loomweight/tensor";

export type Weights = Readonly<Record<string, Tensor>>;
/** Logits [batch, classes] of images, with weights by name. */
export type Model = (weights: Readonly<Record<string, Value>>, image: Value) => Value;

export interface FitOptions {
  readonly runtime: Runtime;
  readonly model: Model;
  readonly weights: Weights;
  readonly data: Dataset;
  /** Which weights change; default all. */
  readonly trainable?: (name: string) => boolean;
  readonly epochs: number;
  readonly batchSize?: number;
  /** Adam's, falling to zero along a cosine unless `schedule` is constant. */
  readonly rate: number;
  readonly seed: number;
  /** Default "cosine". */
  readonly schedule?: "constant" | "cosine";
  /** Sees the loss of every step. */
  readonly onStep?: (loss: number) => void;
  /** Added to the cross-entropy: a penalty. */
  readonly penalty?: (weights: Readonly<Record<string, Value>>, image: Value) => Value;
}

/** Trains by Adam on the cross-entropy; the weights after, and the mean loss of the last epoch. */
export async function fit(options: FitOptions): Promise<{ weights: Weights; loss: number }> {
  const { runtime, model, data, epochs, batchSize = 50, rate, seed, trainable = () => true } = options;
  const each = Math.floor(sampleCount(data) / batchSize);
  const training = await train({
    runtime,
    parameters: options.weights,
    trainable,
    loss: (weights, { image, label }) => {
      const loss = crossEntropy(model(weights, image), label, { ignore: null });
      return options.penalty === undefined ? loss : add(loss, options.penalty(weights, image));
    },
    optimizer: adam(),
    learningRate: options.schedule === "constant" ? rate : cosineSchedule({ rate, steps: each * epochs }),
    batches: (skip) => batches(data, { batchSize, epochs, shuffle: seed, rest: "drop", skip }),
    seed,
  });
  const last: number[] = [];
  for await (const { step, loss } of training) {
    options.onStep?.(loss);
    if (step > each * (epochs - 1)) last.push(loss);
  }
  const weights = { ...options.weights, ...(await training.parameters()) };
  await training.close();
  return { weights, loss: last.reduce((sum, loss) => sum + loss, 0) / last.length };
}

/** Share of the data, in per cent, that the model labels right. */
export async function score(model: Model, weights: Weights, data: Dataset): Promise<number> {
  const { image, label } = data as { image: Tensor; label: Tensor };
  const x = input("image", image.dtype, image.shape);
  const y = input("label", label.dtype, label.shape);
  const found = await evaluate({ share: accuracy(model(weights, x), y) }, { image, label });
  return 100 * Number((found.share.data as Float32Array)[0]);
}

/** A function of the images computed by onnxruntime: hidden layers, statistics. */
export async function compute(
  build: (image: Value) => Record<string, Value>,
  data: Dataset,
): Promise<Record<string, Tensor>> {
  const { image } = data as { image: Tensor };
  return evaluate(build(input("image", image.dtype, image.shape)), { image });
}
