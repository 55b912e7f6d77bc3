import { batches, type Dataset } from "@loomweight/data";
import { gradient, input, mul, type Runtime, stateValue } from "@loomweight/graph";
import { crossEntropy } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import { type Optimizer, train } from "@loomweight/graph/training";
import { accumulateFisher, adagrad, adam, chain, classp, type EwcTask, ewc, sgd } from "@loomweight/optim";
import { elementCount, type Tensor, zeros } from "@loomweight/tensor";
import { clusterModel, clusterSamples, frozenHead, initBackbone } from "../shared/clusters.ts";
import { score, type Weights } from "../shared/fit.ts";
import { claim, collector, mean, meanOf, type Results } from "../shared/report.ts";

const [width, hidden, classes, batchSize] = [32, 64, 10, 32];
const task = { width, classes, clusters: 3, spread: 1 };
const model = clusterModel(2, "head");

export interface Scale {
  readonly samples: number;
  readonly epochs: readonly [first: number, second: number];
}
export const whole: Scale = { samples: 2400, epochs: [4, 1] };

interface Entry {
  readonly family: string;
  readonly name: string;
  readonly rate: number;
  /** Numbers kept for each weight beside it. */
  readonly kept: number;
  readonly optimizer: () => Optimizer;
  /** EWC: the second task is held by springs of this strength. */
  readonly springs?: number;
}

const grid: readonly Entry[] = [
  ...[0.05, 0.1, 0.2].map((rate) => ({ family: "SGD", name: `SGD, ${rate}`, rate, kept: 0, optimizer: () => sgd() })),
  ...[1e-3, 3e-3].map((rate) => ({ family: "Adam", name: `Adam, ${rate}`, rate, kept: 2, optimizer: () => adam() })),
  ...[2, 20, 100].map((springs) => ({
    family: "EWC",
    name: `EWC, λ = ${springs}`,
    rate: 0.1,
    kept: 2,
    optimizer: () => sgd(),
    springs,
  })),
  ...[0.01, 0.02, 0.05].map((rate) => ({
    family: "AdaGrad",
    name: `AdaGrad, ${rate}`,
    rate,
    kept: 1,
    optimizer: () => adagrad(),
  })),
  ...(
    [
      [1, 1e-4, 0.1],
      [1.5, 1e-5, 0.05],
      [1.5, 1e-5, 0.1],
    ] as const
  ).map(([power, threshold, rate]) => ({
    family: "CLASSP",
    name: `CLASSP, power ${power}, threshold ${threshold}, ${rate}`,
    rate,
    kept: 1,
    optimizer: () => classp({ power, threshold }),
  })),
];

/** Trains on the data in their order, the optimizer's memory going along. */
async function trainOn(
  runtime: Runtime,
  weights: Weights,
  optimizer: Optimizer,
  rate: number,
  parts: readonly { data: Dataset; epochs: number }[],
  seed: number,
): Promise<Weights> {
  const training = await train({
    runtime,
    parameters: weights,
    loss: (p, { image, label }) => crossEntropy(model(p, image), label, { ignore: null }),
    optimizer,
    learningRate: rate,
    async *batches() {
      for (const { data, epochs } of parts) yield* batches(data, { batchSize, epochs, shuffle: seed, rest: "drop" });
    },
    seed,
  });
  await training.finish();
  const found = await training.parameters();
  await training.close();
  return found;
}

/** The diagonal Fisher information of the labels, over 400 samples one by one. */
async function fisherOf(runtime: Runtime, weights: Weights, data: Dataset): Promise<EwcTask["fisher"]> {
  const { image, label } = data as Record<"image" | "label", Tensor>;
  const count = Math.min(400, image.shape[0]);
  const names = Object.keys(weights);
  const held = await runtime.state({
    ...weights,
    ...Object.fromEntries(names.map((name) => [`fisher/${name}`, zeros(weights[name].shape)])),
  });
  const [x, y] = [input("image", "float32", [1, width]), input("label", "int32", [1])];
  const of = (prefix: string) =>
    Object.fromEntries(names.map((name) => [name, stateValue(`${prefix}${name}`, "float32", weights[name].shape)]));
  const parameters = of("");
  const loss = crossEntropy(model(parameters, x), y, { ignore: null });
  const next = accumulateFisher(of("fisher/"), gradient(loss, parameters), 1 / count);
  const update = Object.fromEntries(Object.entries(next).map(([name, value]) => [`fisher/${name}`, value]));
  const program = await runtime.compile({ inputs: [x, y], outputs: { loss: mul(loss, 1) }, update }, held);
  for (let n = 0; n < count; n++) {
    const row = (image.data as Float32Array).slice(n * width, (n + 1) * width);
    const own = (label.data as Int32Array).slice(n, n + 1);
    await program.run({
      image: { ...image, data: row, shape: [1, width], stride: [width, 1], offset: 0 },
      label: { ...label, data: own, shape: [1], stride: [1], offset: 0 },
    });
  }
  const read = await held.read(names.map((name) => `fisher/${name}`));
  await program.close();
  await held.close();
  return Object.fromEntries(names.map((name) => [name, read[`fisher/${name}`]]));
}

/** Two tasks with the same labels and nothing else in common, one after the other: what is kept, what is learnt. */
export async function run(seeds: readonly number[], scale: Scale, families?: readonly string[]): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  for (const seed of seeds) {
    const data = ["A", "B"].map((name) => clusterSamples(seed, name, "training", scale.samples, task));
    const tests = ["A", "B"].map((name) => clusterSamples(seed, name, "test", 2000, task));
    const start = { ...initBackbone(seed, [width, hidden, hidden]), ...frozenHead(seed, "head", hidden, classes) };
    const count = Object.values(start).reduce((sum, { shape }) => sum + elementCount(shape), 0);
    const parts = data.map((each, i) => ({ data: each, epochs: scale.epochs[i] }));
    for (const { family, name, rate, kept, optimizer, springs } of grid) {
      if (families !== undefined && !families.includes(family)) continue;
      let weights: Weights;
      if (springs === undefined) weights = await trainOn(runtime, start, optimizer(), rate, parts, seed);
      else {
        const anchor = await trainOn(runtime, start, optimizer(), rate, parts.slice(0, 1), seed);
        const fisher = await fisherOf(runtime, anchor, data[0]);
        const held = chain(ewc([{ anchor, fisher }], { lambda: springs }), optimizer());
        weights = await trainOn(runtime, anchor, held, rate, parts.slice(1), seed);
      }
      const [a, b] = [await score(model, weights, tests[0]), await score(model, weights, tests[1])];
      found.add(name, kept * count, { "A kept": a, "B learnt": b, accuracy: (a + b) / 2 });
    }
  }
  await runtime.close();
  const rows = found.rows();
  const of = (family: string) => rows.filter(({ name }) => name.startsWith(family));
  const best = (family: string) => Math.max(...of(family).map(({ values }) => mean(values.accuracy)));
  const known = new Set(rows.map(({ name }) => name.split(",")[0]));
  const claims = [
    claim("CLASSP's best mean of both tasks is at least 4 points above SGD's", best("CLASSP") >= best("SGD") + 4, {
      CLASSP: best("CLASSP"),
      SGD: best("SGD"),
    }),
  ];
  if (known.has("EWC")) {
    claims.push(
      claim("it is above EWC's, with half of its memory", best("CLASSP") > best("EWC"), {
        CLASSP: best("CLASSP"),
        EWC: best("EWC"),
      }),
    );
  }
  const learnt = (name: string) => meanOf(rows, name, "B learnt");
  const nearest = of("CLASSP").map(({ name }) => {
    const rival = of("SGD").reduce((x, y) =>
      Math.abs(learnt(y.name) - learnt(name)) < Math.abs(learnt(x.name) - learnt(name)) ? y : x,
    );
    return { own: name, rival: rival.name, distance: Math.abs(learnt(rival.name) - learnt(name)) };
  });
  const pair = nearest.reduce((x, y) => (y.distance < x.distance ? y : x));
  claims.push(
    claim(
      "of the CLASSP and the SGD that learn B most alike, CLASSP keeps more of A",
      meanOf(rows, pair.own, "A kept") > meanOf(rows, pair.rival, "A kept"),
      {
        "CLASSP, A": meanOf(rows, pair.own, "A kept"),
        "SGD, A": meanOf(rows, pair.rival, "A kept"),
        "CLASSP, B": learnt(pair.own),
        "SGD, B": learnt(pair.rival),
      },
    ),
  );
  return { title: "Two tasks one after the other: mean accuracy over both", seeds, rows, claims };
}
