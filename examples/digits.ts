// A classifier of handwritten digits, trained from scratch in this process.
// npm run example digits
import { batches } from "@loomweight/data";
import { flatten, maxPool, relu, type Value } from "@loomweight/graph";
import { accuracy, convolution, crossEntropy, initConvolution, initLinear, linear } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { train } from "@loomweight/graph/training";
import { adamw, cosineSchedule } from "@loomweight/optim";
import { createRandom } from "@loomweight/tensor";
import { readDigits } from "./data.ts";
import { isMain } from "./main.ts";

type Weights = Readonly<Record<string, Value>>;

/** Two convolutions and a linear layer: logits [n, 10] of pixels [n, 1, 28, 28]. */
function classify(weights: Weights, pixels: Value): Value {
  let x = pixels;
  for (const layer of ["conv1", "conv2"]) {
    x = maxPool(relu(convolution(weights, layer, x, { padding: 1 })), [2, 2], { strides: [2, 2] });
  }
  return linear(weights, "head", flatten(x));
}

/** Trains for `epochs` passes over 8,000 digits; gives the share of 2,000 others that it reads right. */
export async function digits({ epochs = 3, log = console.log } = {}): Promise<number> {
  const { train: samples, test } = await readDigits();
  const random = createRandom(0, "digits");
  const steps = epochs * 125;
  const runtime = await createRuntime();
  const training = await train({
    runtime,
    parameters: {
      ...initConvolution(random, "conv1", { inputs: 1, outputs: 16, kernel: [3, 3] }),
      ...initConvolution(random, "conv2", { inputs: 16, outputs: 32, kernel: [3, 3] }),
      ...initLinear(random, "head", { inputs: 32 * 7 * 7, outputs: 10 }),
    },
    loss: (weights, { pixels, labels }) => crossEntropy(classify(weights, pixels), labels, { ignore: null }),
    optimizer: adamw({ weightDecay: 0.01 }),
    learningRate: cosineSchedule({ rate: 3e-3, steps }),
    batches: (position) => batches(samples, { batchSize: 64, epochs, shuffle: 1, skip: position }),
    evaluation: {
      batches: () => batches(test, { batchSize: 500 }),
      metrics: (weights, { pixels, labels }) => ({ accuracy: accuracy(classify(weights, pixels), labels) }),
      every: 125,
    },
  });
  for await (const { step, loss, evaluation } of training) {
    if (evaluation !== undefined) {
      log(`step ${step}/${steps}  loss ${loss.toFixed(3)}  test ${(100 * evaluation.accuracy).toFixed(1)} %`);
    }
  }
  const { accuracy: share } = await training.evaluate();
  await training.close();
  await runtime.close();
  return share;
}

if (isMain(import.meta.url)) {
  const began = performance.now();
  const share = await digits();
  const seconds = (performance.now() - began) / 1000;
  console.log(`${(100 * share).toFixed(2)} % of 2,000 test digits right, ${seconds.toFixed(1)} s`);
}
