import {
  adapterRandom,
  type BlockMethod,
  type BlockShape,
  compacter,
  countBlockParameters,
  hyperformer,
  type Params,
  taskSchedule,
  vlAdapter,
} from "@loomweight/adapters";
import { type Dataset, epochOrder, sampleCount, takeSamples } from "@loomweight/data";
import { add, gelu, type Runtime, reshape, type Value } from "@loomweight/graph";
import { crossEntropy, initLinear, initNorm, layerNorm, linear } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { train } from "@loomweight/graph/training";
import { adam, cosineSchedule } from "@loomweight/optim";
import { createRandom, fromData, parseOptions, type Tensor } from "@loomweight/tensor";
import { turnedDigits } from "../shared/digits.ts";
import { fit, score, type Weights } from "../shared/fit.ts";
import { claim, collector, mean, meanOf, type Results } from "../shared/report.ts";

const [width, blocks] = [64, 2];
const angles = [30, 40, 50, 60];

type Values = Readonly<Record<string, Value>>;
const numberOf = (task: number): Tensor => fromData("int64", BigInt64Array.of(BigInt(task)), [1]);

function initBase(seed: number): Weights {
  const random = createRandom(seed, "residual mlp");
  const weights: Record<string, Tensor> = {
    ...initLinear(random, "embed", { inputs: 256, outputs: width }),
    ...initNorm("norm", { size: width }),
    ...initLinear(random, "head", { inputs: width, outputs: 10 }),
  };
  for (let i = 0; i < blocks; i++) {
    Object.assign(
      weights,
      initNorm(`blocks.${i}.norm`, { size: width }),
      initLinear(random, `blocks.${i}.fc1`, { inputs: width, outputs: 2 * width }),
      initLinear(random, `blocks.${i}.fc2`, { inputs: 2 * width, outputs: width }),
    );
  }
  return weights;
}

/** Pre-norm residual MLP: `adapt` sees what each block adds. */
function forward(weights: Values, image: Value, adapt: (index: number, output: Value) => Value): Value {
  let h = linear(weights, "embed", image);
  for (let i = 0; i < blocks; i++) {
    const output = linear(
      weights,
      `blocks.${i}.fc2`,
      gelu(linear(weights, `blocks.${i}.fc1`, layerNorm(weights, `blocks.${i}.norm`, h))),
    );
    h = add(h, adapt(i, output));
  }
  return linear(weights, "head", layerNorm(weights, "norm", h));
}
const plain = (weights: Values, image: Value) => forward(weights, image, (_index, output) => output);

const sites: readonly BlockShape[] = Array.from({ length: blocks }, (_, index) => ({
  path: `layers.${index}.ffn`,
  index,
  in: width,
  out: width,
}));

interface Variant {
  readonly name: string;
  readonly method: BlockMethod;
  readonly options: Readonly<Record<string, unknown>>;
}
const adapter = (name: string, sharing: string): Variant => ({
  name,
  method: vlAdapter as unknown as BlockMethod,
  options: { reductionFactor: 8, tasks: 4, sharing, init: "bert" },
});
const kronecker = (parts: number): Variant => ({
  name: `single Compacter, n = ${parts}`,
  method: compacter as unknown as BlockMethod,
  options: { reductionFactor: 8, tasks: 4, parts, form: "full", ruleDeviation: 0.1, init: "glorot" },
});
const variants: readonly Variant[] = [
  adapter("multiple adapters", "multiple"),
  adapter("half-shared (down)", "half-down"),
  adapter("single adapter", "single"),
  {
    name: "Hyperformer, p = 8",
    method: hyperformer as unknown as BlockMethod,
    options: { reductionFactor: 8, tasks: 4, layers: 2, embedding: 16, hidden: 32, projected: 8, zeroUp: false },
  },
  kronecker(2),
  kronecker(4),
];

function adapted(variant: Variant, weights: Values, image: Value, task: Value): Value {
  const options = parseOptions(variant.method.options, variant.options, variant.method.name);
  const below = (prefix: string) =>
    Object.fromEntries(
      Object.entries(weights).flatMap(([key, value]) =>
        key.startsWith(prefix) ? [[key.slice(prefix.length), value]] : [],
      ),
    ) as Params;
  return forward(weights, image, (index, output) => {
    const site = { ...sites[index], input: output, output };
    const own = below(`adapters.${site.path}.`);
    const params =
      variant.method.generate?.(
        site,
        { own, shared: below("adapters.shared.") },
        { task: reshape(task, []) },
        options,
      ) ?? own;
    return variant.method.apply(site, params, options);
  });
}

/** One task a batch: shuffled batches of each, in the order of a proportional schedule. */
function* taskBatches(
  data: readonly Dataset[],
  epochs: number,
  batchSize: number,
  seed: number,
  skip: number,
): Generator<Dataset> {
  let seen = 0;
  for (let epoch = 0; epoch < epochs; epoch++) {
    const counts = Object.fromEntries(data.map((each, task) => [String(task), sampleCount(each)]));
    const next = data.map(() => 0);
    for (const name of taskSchedule(counts, { mode: "proportional", batchSize, seed }, epoch)) {
      const task = Number(name);
      const order = epochOrder(sampleCount(data[task]), epoch, seed + task);
      const rows = order.subarray(next[task] * batchSize, (next[task] + 1) * batchSize);
      next[task]++;
      if (seen++ >= skip) yield { ...takeSamples(data[task], rows), task: numberOf(task) };
    }
  }
}

async function trainVariant(
  runtime: Runtime,
  variant: Variant,
  base: Weights,
  data: readonly Dataset[],
  seed: number,
  epochs: number,
): Promise<Weights> {
  const options = parseOptions(variant.method.options, variant.options, variant.method.name);
  const adapters: Record<string, Tensor> = {};
  for (const site of sites) {
    for (const [name, tensor] of Object.entries(
      variant.method.init(site, options, { random: adapterRandom(seed, site.path) }),
    ))
      adapters[`adapters.${site.path}.${name}`] = tensor;
  }
  for (const [name, tensor] of Object.entries(
    variant.method.initShared?.(sites, options, adapterRandom(seed, "shared")) ?? {},
  ))
    adapters[`adapters.shared.${name}`] = tensor;
  const batchSize = 50;
  const steps = epochs * data.reduce((sum, each) => sum + Math.ceil(sampleCount(each) / batchSize), 0);
  const training = await train({
    runtime,
    parameters: { ...base, ...adapters },
    trainable: (name) => name.startsWith("adapters."),
    loss: (weights, { image, label, task }) =>
      crossEntropy(adapted(variant, weights, image, task), label, { ignore: null }),
    optimizer: adam(),
    learningRate: cosineSchedule({ rate: 5e-3, steps }),
    batches: (skip) => taskBatches(data, epochs, batchSize, seed, skip),
    seed,
  });
  await training.finish();
  const found = { ...base, ...(await training.parameters()) };
  await training.close();
  return found;
}

export interface Scale {
  readonly pretrain: number;
  readonly pretrainEpochs: number;
  readonly each: number;
  readonly epochs: number;
  readonly test: number;
}
export const whole: Scale = { pretrain: 3000, pretrainEpochs: 15, each: 150, epochs: 25, test: 1000 };
export const short: Scale = { ...whole, pretrainEpochs: 5, epochs: 15, test: 500 };

/** One frozen model, four tasks (digits turned by 30 to 60°) with 150 samples each: who shares what. `only`: a choice by name. */
export async function run(seeds: readonly number[], scale: Scale, only?: readonly string[]): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  for (const seed of seeds) {
    const { weights: base } = await fit({
      runtime,
      model: plain,
      weights: initBase(seed),
      data: await turnedDigits(seed, 0, 0, scale.pretrain),
      epochs: scale.pretrainEpochs,
      rate: 2e-3,
      seed,
    });
    const data: Dataset[] = [];
    const tests: Dataset[] = [];
    for (const [task, angle] of angles.entries()) {
      data.push(await turnedDigits(seed, angle, scale.pretrain + task * scale.each, scale.each));
      tests.push(await turnedDigits(seed, angle, scale.pretrain + 4 * scale.each, scale.test));
    }
    const frozen = await Promise.all(tests.map((test) => score(plain, base, test)));
    found.add("frozen", 0, { accuracy: mean(frozen) });
    for (const variant of variants) {
      if (only !== undefined && !only.includes(variant.name)) continue;
      const weights = await trainVariant(runtime, variant, base, data, seed, scale.epochs);
      const scores: number[] = [];
      for (const [task, test] of tests.entries())
        scores.push(await score((values, image) => adapted(variant, values, image, numberOf(task)), weights, test));
      const options = parseOptions(variant.method.options, variant.options, variant.method.name);
      found.add(variant.name, countBlockParameters(variant.method, sites, options), { accuracy: mean(scores) });
    }
  }
  await runtime.close();
  const rows = found.rows();
  const at = (name: string) => meanOf(rows, name);
  const [single, multiple] = [at("single adapter"), at("multiple adapters")];
  const claims = [
    claim("one adapter for all tasks beats one for each by at least 2 points", single >= multiple + 2, {
      single,
      multiple,
    }),
  ];
  if (only === undefined) {
    const half = at("half-shared (down)");
    claims.push(
      claim("half-shared lies between, 2 points from either", single >= half + 2 && half >= multiple + 2, {
        single,
        half,
        multiple,
      }),
      claim("Hyperformer beats one adapter for each task", at("Hyperformer, p = 8") > multiple, {
        Hyperformer: at("Hyperformer, p = 8"),
        multiple,
      }),
      claim(
        "Compacter n = 2 stays within 10 points of the single adapter with about half its numbers",
        at("single Compacter, n = 2") >= single - 10,
        { Compacter: at("single Compacter, n = 2"), single },
      ),
    );
  }
  return { title: "Four related tasks, one frozen model: mean test accuracy", seeds, rows, claims };
}
