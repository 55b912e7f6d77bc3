import { adapterRandom, type LayerShape, layerOf, lora, tera, vera } from "@loomweight/adapters";
import type { AdapterSpec } from "@loomweight/adapters/attach";
import type { Dataset } from "@loomweight/data";
import { mul, reduceMean, sub } from "@loomweight/graph";
import { crossEntropy, linear } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { numericalRank, svd } from "@loomweight/linalg";
import { cast, contiguousData, createRandom, fromData, parseOptions, type Tensor, uniform } from "@loomweight/tensor";
import type { AdapterLoss } from "@loomweight/train";
import { adapt, adaptedAccuracy, frozenAccuracy, frozenModel } from "../shared/adapted-model.ts";
import { turnedDigits } from "../shared/digits.ts";
import { fit } from "../shared/fit.ts";
import { initMlp, mlpModel } from "../shared/mlp.ts";
import { claim, collector, meanOf, type Results } from "../shared/report.ts";

export interface Scale {
  readonly steps: number;
  readonly pretrain: number;
  readonly adapt: number;
  readonly epochs: number;
  readonly test: number;
}
export const whole: Scale = { steps: 1500, pretrain: 3000, adapt: 1500, epochs: 12, test: 1500 };
/** The fit alone, for the test. */
export const short = { steps: 500 };

const width = 16;

/** The update [16, 16] of a network with vectors from 0.5 to 1.5, float64. */
function updateOf(layer: LayerShape, given: Readonly<Record<string, unknown>>, seed: number): Tensor<"float64"> {
  const options = parseOptions(tera.options, given, "tera");
  const random = createRandom(seed, "tera target");
  const place = {
    path: "layer",
    layers: new Map([["layer", layer]]),
    layersInOrder: () => new Map([["layer", layer]]),
  };
  const shared = tera.shared?.(place.layers, options, adapterRandom(seed, "shared")) ?? {};
  const keys = Object.entries(tera.sharedParams?.(layer, options, place) ?? {});
  const frozen = keys.map(([name, each]) => [name, cast(shared[each?.key as string], "float64")]);
  const vectors = Object.entries(tera.init(layer, options, { random: adapterRandom(seed, "layer") })).map(
    ([name, { shape }]) => [name, cast(uniform(shape, random.child(name), { low: 0.5, high: 1.5 }), "float64")],
  );
  const zero = fromData("float64", new Float64Array(layer.out * layer.in), [layer.out, layer.in]);
  const values = { ...layer, weight: zero, base: zero };
  return tera.weight?.(values, Object.fromEntries([...frozen, ...vectors]), options, {}) as Tensor<"float64">;
}

/** Towards an update of the same frozen network with other vectors. */
async function fitting(
  runtime: Awaited<ReturnType<typeof createRuntime>>,
  seed: number,
  steps: number,
  found: ReturnType<typeof collector>,
) {
  const layer = layerOf("linear", [width, width]);
  const target = updateOf(layer, {}, seed);
  const values = contiguousData(target) as Float64Array;
  // All unit vectors as inputs: the loss is the squared error of the update.
  const x = new Float32Array(width * width);
  for (let i = 0; i < width; i++) x[i * width + i] = 1;
  const y = Float32Array.from(
    { length: width * width },
    (_, at) => values[(at % width) * width + Math.floor(at / width)],
  );
  const shape = [width, width];
  const model = frozenModel(
    { "layer.weight": fromData("float32", new Float32Array(width * width), shape) },
    { x: { dtype: "float32", shape } },
    (own, inputs) => ({ y: linear(own, "layer", inputs.x) }),
  );
  const data: Dataset = { x: fromData("float32", x, shape), y: fromData("float32", y, shape) };
  const loss: AdapterLoss = (outputs, batch) => {
    const error = sub(outputs.y, batch.y);
    return reduceMean(mul(error, error), [0, 1], false);
  };
  const adapter: AdapterSpec = { method: tera, targets: ["layer"] };
  const { losses, trained } = await adapt({ runtime, model, adapter, data, loss, steps: steps + 1, rate: 2e-2, seed });
  const left = (losses.at(-1) as number) / losses[0];
  const rank = numericalRank(target, { tolerance: 1e-6 });
  found.add("fit: TeRA", trained, {
    "error left": left,
    "log10 of it": Math.log10(Math.max(left, 1e-30)),
    "rank of the update": rank,
  });
  const low = updateOf(layer, { modesOut: "4x4", modesIn: "4x4", ranksOut: "2x3", ranksIn: "3x4" }, seed);
  found.add("fit: ranks 2 · 3 and 3 · 4", 12, { "rank of the update": numericalRank(low, { tolerance: 1e-6 }) });
  const squares = (contiguousData(svd(target).singularValues) as Float64Array).map((value) => value ** 2);
  const whole = squares.reduce((sum, value) => sum + value, 0);
  for (const r of [1, 4, 8]) {
    const rest = squares.slice(r).reduce((sum, value) => sum + value, 0) / whole;
    found.add(`fit: best LoRA, r = ${r}`, 2 * width * r, { "error left": rest, "log10 of it": Math.log10(rest) });
  }
}

/** VeRA and TeRA with 312 numbers each on the hidden layers, and LoRAs with more. */
const adapters: readonly (readonly [string, AdapterSpec, number])[] = [
  ["VeRA, r = 28", { method: vera, options: { rank: 28 }, targets: ["fc1", "fc2"] }, 2e-2],
  ["TeRA, 128 and two input modes", { method: tera, options: { modesOut: "128" }, targets: ["fc1", "fc2"] }, 2e-2],
  ["TeRA, two modes a side", { method: tera, targets: ["fc1", "fc2"] }, 2e-2],
  ["LoRA, r = 1", { method: lora, options: { rank: 1, alpha: 1 }, targets: ["fc1", "fc2"] }, 1e-2],
  ["LoRA, r = 5", { method: lora, options: { rank: 5, alpha: 5 }, targets: ["fc1", "fc2"] }, 1e-2],
];

/** An MLP that knows digits learns them with the classes the other way round, its head frozen. */
async function digits(
  runtime: Awaited<ReturnType<typeof createRuntime>>,
  seed: number,
  scale: Scale,
  found: ReturnType<typeof collector>,
) {
  const { pretrain, epochs } = scale;
  const { weights } = await fit({
    runtime,
    model: mlpModel(),
    weights: initMlp(seed),
    data: await turnedDigits(seed, 0, 0, pretrain),
    epochs: 6,
    rate: 1e-3,
    seed,
  });
  const inverted = async (from: number, count: number): Promise<Dataset> => {
    const { image, label } = (await turnedDigits(seed, 0, from, count)) as { image: Tensor; label: Tensor };
    const turned = (contiguousData(label) as Int32Array).map((each) => 9 - each);
    return { image, label: fromData("int32", turned, label.shape) };
  };
  const data = await inverted(pretrain, scale.adapt);
  const test = await inverted(pretrain + scale.adapt, scale.test);
  const model = frozenModel(weights, { image: { dtype: "float32", shape: ["batch", 256] } }, (own, { image }) => ({
    logits: mlpModel()(own, image),
  }));
  found.add("no adapter", 0, { accuracy: await frozenAccuracy(runtime, model, test) });
  const loss: AdapterLoss = ({ logits }, { label }) => crossEntropy(logits, label, { ignore: null });
  for (const [name, adapter, rate] of adapters) {
    const adapted = await adapt({
      runtime,
      model,
      adapter,
      data,
      loss,
      epochs,
      batchSize: 50,
      rate,
      schedule: "cosine",
      seed,
    });
    found.add(name, adapted.trained, { accuracy: await adaptedAccuracy(runtime, adapted, test) });
  }
}

export async function run(seeds: readonly number[], scale: Scale | typeof short): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  for (const seed of seeds) {
    await fitting(runtime, seed, scale.steps, found);
    if ("pretrain" in scale) await digits(runtime, seed, scale, found);
  }
  await runtime.close();
  const rows = found.rows();
  const at = (name: string, measure: string) => meanOf(rows, name, measure);
  const ranks = {
    full: at("fit: TeRA", "rank of the update"),
    "2 · 3 and 3 · 4": at("fit: ranks 2 · 3 and 3 · 4", "rank of the update"),
  };
  const left = {
    "TeRA, log10": at("fit: TeRA", "log10 of it"),
    "LoRA, r = 8": at("fit: best LoRA, r = 8", "error left"),
  };
  const claims = [
    claim(
      "16 numbers make an update of rank 16, and lower ranks one of their smaller product",
      ranks.full === 16 && ranks["2 · 3 and 3 · 4"] === 6,
      ranks,
    ),
    claim(
      "TeRA reaches an update of its own network, in the whole run to float32's rounding, where the best LoRA of 16 times the numbers leaves 2 % and more",
      left["TeRA, log10"] <= ("pretrain" in scale ? -9 : -4) && left["LoRA, r = 8"] >= 0.02,
      left,
    ),
  ];
  if ("pretrain" in scale) {
    const [veraName, teraName, , , loraName] = adapters.map(([name]) => name);
    const accuracies = Object.fromEntries([veraName, teraName, loraName].map((name) => [name, at(name, "accuracy")]));
    claims.push(
      claim(
        "on digits TeRA is at most a point below VeRA at the same number of numbers",
        accuracies[teraName] >= accuracies[veraName] - 1,
        accuracies,
      ),
      claim(
        "a LoRA of ten times the numbers is above both",
        accuracies[loraName] > Math.max(accuracies[teraName], accuracies[veraName]),
        accuracies,
      ),
    );
  }
  return { title: "TeRA: digits with their classes inverted, test accuracy", seeds, rows, claims };
}
