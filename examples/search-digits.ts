// Searches the shape of a classifier of handwritten digits that has to be small, and writes it as an ONNX file.
// npm run example search-digits [file.onnx]
import { batches, sliceSamples } from "@loomweight/data";
import { flatten, input, maxPool, relu, type Value } from "@loomweight/graph";
import { accuracy, convolution, crossEntropy, linear } from "@loomweight/graph/nn";
import { createRuntime, writeOnnxFile } from "@loomweight/graph/node";
import { train } from "@loomweight/graph/training";
import {
  choice,
  chosenNetwork,
  convolutionSpace,
  countParameters,
  darts,
  defineSpace,
  initialWeights,
  largestArchitecture,
  linearSpace,
  type Network,
  networkModel,
  product,
  search,
  tanglenas,
} from "@loomweight/nas";
import { adam, adamw, cosineSchedule } from "@loomweight/optim";
import { readDigits } from "./data.ts";
import { isMain } from "./main.ts";

const widths = [choice("width 1", [4, 8, 12]), choice("width 2", [8, 16, 24])] as const;
const kernels = [choice("kernel 1", [1, 3, 5]), choice("kernel 2", [1, 3, 5])] as const;

/** The largest network, with what may be smaller: 81 networks. */
const space = defineSpace({
  ...convolutionSpace("conv1", { inputs: 1, outputs: widths[0], kernel: kernels[0] }),
  ...convolutionSpace("conv2", { inputs: widths[0], outputs: widths[1], kernel: kernels[1] }),
  ...linearSpace("head", { inputs: product(widths[1], 49), outputs: 10 }),
});

/** Logits [n, 10] of pixels [n, 1, 28, 28]. */
function classify({ weights, size }: Network, pixels: Value): Value {
  let x = pixels;
  for (const [i, layer] of ["conv1", "conv2"].entries()) {
    const padding = (size(kernels[i]) - 1) / 2;
    x = maxPool(relu(convolution(weights, layer, x, { padding })), [2, 2], { strides: [2, 2] });
  }
  return linear(weights, "head", flatten(x));
}

/** Searches for `epochs` passes over 4,000 digits, then trains what was found for `tuning` batches of 64. */
export async function searchDigits({
  to = "digits.onnx",
  epochs = 4,
  target = 8000,
  tuning = 125,
  log = console.log,
} = {}) {
  const { train: samples, test } = await readDigits();
  const parts = [sliceSamples(samples, 0, 4000), sliceSamples(samples, 4000)];
  const steps = 62; // batches of 64 in 4,000
  const [forWeights, forArchitecture] = parts.map(
    (part, i) => (skip: number) => batches(part, { batchSize: 64, epochs, shuffle: i, rest: "drop", skip }),
  );
  const runtime = await createRuntime();
  const running = await search(
    tanglenas,
    {
      runtime,
      space,
      weights: initialWeights(space),
      loss: (network, { pixels, labels }) => crossEntropy(classify(network, pixels), labels, { ignore: null }),
      sampler: darts(),
      batches: { weights: forWeights, architecture: forArchitecture },
      weightOptimizer: adam(),
      learningRate: 2e-3,
      cost: { target, weight: 1 }, // without it the largest network would win
    },
    { epochs, stepsPerEpoch: steps, architectureRate: 2e-2 },
  );
  for await (const { step, loss, expectedSize } of running) {
    if (step % steps === 0) log(`search ${step}  loss ${loss.toFixed(3)}  expected size ${expectedSize?.toFixed(0)}`);
  }
  const architecture = await running.architecture();
  const parameters = countParameters(space, architecture);
  log(`found ${JSON.stringify(architecture)}: ${parameters} of ${countParameters(space, largestArchitecture(space))}`);

  // From here on an ordinary network: it starts from the weights it inherits.
  const training = await train({
    runtime,
    parameters: await running.weights(architecture),
    loss: (weights, { pixels, labels }) =>
      crossEntropy(classify(chosenNetwork(space, weights, architecture), pixels), labels, { ignore: null }),
    optimizer: adamw({ weightDecay: 0.01 }),
    learningRate: cosineSchedule({ rate: 2e-3, steps: tuning }),
    steps: tuning,
    batches: (skip) => batches(samples, { batchSize: 64, shuffle: 2, skip }),
    evaluation: {
      batches: () => batches(test, { batchSize: 500 }),
      metrics: (weights, { pixels, labels }) => ({
        share: accuracy(classify(chosenNetwork(space, weights, architecture), pixels), labels),
      }),
    },
  });
  const { share: inherited } = await training.evaluate();
  await training.finish();
  const { share } = await training.evaluate();
  const onnx = networkModel((network, { pixels }) => ({ logits: classify(network, pixels) }), {
    space,
    weights: await training.parameters(),
    architecture,
    inputs: { pixels: input("pixels", "float32", ["batch", 1, 28, 28]) },
  });
  await writeOnnxFile(to, onnx);
  await training.close();
  await running.close();
  await runtime.close();
  return { architecture, parameters, inherited, share };
}

if (isMain(import.meta.url)) {
  const { inherited, share } = await searchDigits({ to: process.argv[2] });
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
  console.log(`${percent(inherited)} of 2,000 test digits right as cut out, ${percent(share)} after one more pass`);
}
