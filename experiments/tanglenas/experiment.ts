import { batches, type Dataset, sliceSamples } from "@loomweight/data";
import { assemble, input, type Runtime, reduceMean, relu, reshape, type Value } from "@loomweight/graph";
import { accuracy, convolution, crossEntropy, linear } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import {
  type Architecture,
  bestArchitecture,
  choice,
  chosenNetwork,
  convolutionSpace,
  countParameters,
  darts,
  defineSpace,
  drnas,
  gdas,
  initialWeights,
  largestArchitecture,
  linearSpace,
  mixtureNetwork,
  type Network,
  product,
  type Sampler,
  search,
  spos,
  tanglenas,
} from "@loomweight/nas";
import { adam } from "@loomweight/optim";
import { fromData, type Tensor, toFloat32 } from "@loomweight/tensor";
import { turnedDigits } from "../shared/digits.ts";
import { claim, collector, meanOf, type Results } from "../shared/report.ts";

const channels = choice("channels", [2, 4, 8, 16]);
const kernel = choice("kernel", [1, 3, 5]);

/** A convolution whose width and kernel are decided, means over four quarters, a linear head: 12 networks. */
const space = defineSpace({
  ...convolutionSpace("conv", { inputs: 1, outputs: channels, kernel }),
  ...linearSpace("head", { inputs: product(channels, 4), outputs: 10 }),
});

/** Logits [n, 10] of images [n, 1, 8, 8], for the mixture of all networks and for each of them. */
function logits({ weights, size }: Network, image: Value): Value {
  const h = relu(convolution(weights, "conv", image, { padding: (size(kernel) - 1) / 2 }));
  const [count, width] = h.shape.map(Number);
  const quarters = reduceMean(reshape(h, [count, width, 2, 4, 2, 4]), [3, 5], false);
  return linear(weights, "head", reshape(quarters, [count, 4 * width]));
}

/** Upright digits at 8 × 8, from 0 to 1: image [count, 1, 8, 8]. */
async function smallDigits(seed: number, from: number, count: number): Promise<Dataset> {
  const { image, label } = (await turnedDigits(seed, 0, from, count)) as { image: Tensor; label: Tensor };
  const cells = reduceMean(reshape(image, [count, 8, 2, 8, 2]), [2, 4], false) as Tensor;
  return {
    image: fromData(
      "float32",
      toFloat32(cells).map((value) => (value + 1) / 2),
      [count, 1, 8, 8],
    ),
    label,
  };
}

export interface Scale {
  /** Digits of each of the two splits. */
  readonly split: number;
  readonly epochs: number;
  readonly test: number;
}
export const whole: Scale = { split: 600, epochs: 25, test: 2000 };
export const short: Scale = { ...whole, test: 500 };

const batchSize = 60;
/** Parameters that the cost holds the search to. */
const target = 300;

/** The samplers of the card, and the first of them with a cost. */
const variants: Readonly<Record<string, { readonly sampler: Sampler; readonly target?: number }>> = {
  DARTS: { sampler: darts() },
  "DARTS, sparsemax": { sampler: darts({ relaxation: "sparsemax" }) },
  DrNAS: { sampler: drnas() },
  GDAS: { sampler: gdas() },
  "SPOS, best of 12": { sampler: spos() },
  [`DARTS, cost above ${target}`]: { sampler: darts(), target },
};

/** Share of the data, in per cent, that one network labels right with slices of the largest one's weights. */
async function score(
  runtime: Runtime,
  weights: Readonly<Record<string, Tensor>>,
  architecture: Architecture,
  data: Dataset,
): Promise<number> {
  const { image, label } = data as { image: Tensor; label: Tensor };
  const [x, y] = [input("image", image.dtype, image.shape), input("label", label.dtype, label.shape)];
  const share = accuracy(logits(chosenNetwork(space, weights, architecture), x), y);
  return 100 * toFloat32((await runtime.evaluate({ share }, { image, label })).share)[0];
}

/** Convolutions in the graph of a forward pass of the mixture. */
function convolutions(): number {
  const image = input("image", "float32", [1, 1, 8, 8]);
  const p = Object.fromEntries(
    Object.values(space.decisions).map(({ name, choices }) => [name, input(name, "float32", [choices.length])]),
  );
  const y = logits(mixtureNetwork(space, initialWeights(space), p), image);
  const { graph } = assemble({ name: "mixture", inputs: [image, ...Object.values(p)], outputs: { y } });
  return graph.nodes.filter(({ op }) => op === "Conv").length;
}

export async function run(
  seeds: readonly number[],
  scale: Scale,
  wanted: readonly string[] = Object.keys(variants),
): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  for (const seed of seeds) {
    const data = await smallDigits(seed, 0, 2 * scale.split);
    const test = await smallDigits(seed, 2 * scale.split, scale.test);
    const halves = [sliceSamples(data, 0, scale.split), sliceSamples(data, scale.split)];
    const [forWeights, forArchitecture] = halves.map(
      (half, i) => (skip: number) =>
        batches(half, { batchSize, epochs: scale.epochs, shuffle: 2 * seed + i, rest: "drop", skip }),
    );
    for (const name of wanted) {
      const { sampler, target: limit } = variants[name];
      const running = await search(
        tanglenas,
        {
          runtime,
          space,
          weights: initialWeights(space, seed),
          loss: (network, { image, label }) => crossEntropy(logits(network, image), label, { ignore: null }),
          sampler,
          batches: { weights: forWeights, architecture: forArchitecture },
          weightOptimizer: adam(),
          learningRate: 5e-3,
          architectureOptimizer: adam({ beta1: 0.5, weightDecay: 1e-3 }),
          ...(limit !== undefined && { cost: { target: limit, weight: 1 } }),
        },
        { epochs: scale.epochs, stepsPerEpoch: scale.split / batchSize, architectureRate: 1e-2, seed },
      );
      await running.finish();
      const weights = await running.weights();
      const architecture = sampler.trains
        ? await running.architecture()
        : (await bestArchitecture(space, (each) => score(runtime, weights, each, halves[1]))).architecture;
      found.add(name, countParameters(space, largestArchitecture(space)), {
        accuracy: await score(runtime, weights, architecture, test),
        parameters: countParameters(space, architecture),
        channels: architecture.channels,
        kernel: architecture.kernel,
      });
      await running.close();
    }
  }
  await runtime.close();
  const rows = found.rows();
  const baseline = "SPOS, best of 12";
  const claims = ["DARTS", "GDAS"]
    .filter((name) => wanted.includes(name) && wanted.includes(baseline))
    .map((name) => {
      const [own, best] = [meanOf(rows, name), meanOf(rows, baseline)];
      return claim(`${name} beats the best network of SPOS by 10 points or more`, own >= best + 10, {
        [name]: own,
        SPOS: best,
      });
    });
  const calls = convolutions();
  claims.push(claim("a forward pass of 12 networks is one convolution", calls === 1, { convolutions: calls }));
  const held = `DARTS, cost above ${target}`;
  if (wanted.includes(held) && wanted.includes("DARTS")) {
    const [without, sizes] = [meanOf(rows, "DARTS", "parameters"), meanOf(rows, held, "parameters")];
    claims.push(
      claim("the cost leads to smaller networks", sizes < without, { "with the cost": sizes, "without it": without }),
    );
  }
  return { title: "Digits at 8 × 8: the chosen network's accuracy with inherited weights", seeds, rows, claims };
}
