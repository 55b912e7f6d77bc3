import type { Runtime } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import {
  continualAverage,
  continualTaskArithmetic,
  type OpcmState,
  opcmLambda,
  opcmMerged,
  opcmStep,
} from "@loomweight/merge";
import { createRandom, fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { clusterModel, clusterSamples, frozenHead, initBackbone } from "../shared/clusters.ts";
import { fit, score, type Weights } from "../shared/fit.ts";
import { claim, collector, deviation, meanOf, type Results } from "../shared/report.ts";

const width = 48;
const task = { classes: 4, clusters: 2, spread: 0.8 };

export interface Scale {
  readonly tasks: number;
  readonly samples: number;
  readonly epochs: number;
  /** Orders in which the models of the first seed are merged, for the spread over orders. */
  readonly orders: number;
}
export const whole: Scale = { tasks: 8, samples: 800, epochs: 18, orders: 5 };
export const short: Scale = { tasks: 8, samples: 400, epochs: 12, orders: 0 };

const backboneOf = (weights: Weights): ReadonlyMap<string, Tensor> =>
  new Map(Object.entries(weights).filter(([name]) => name.startsWith("fc")));

/** Task vectors summed and brought to the mean norm, as OPCM does, but not projected. */
function withoutProjection(base: ReadonlyMap<string, Tensor>, models: readonly ReadonlyMap<string, Tensor>[]) {
  const tau = (model: ReadonlyMap<string, Tensor>, name: string) => {
    const from = toFloat64(base.get(name) as Tensor);
    return toFloat64(model.get(name) as Tensor).map((value, i) => value - from[i]);
  };
  const names = [...base.keys()];
  const norm = (vectors: readonly Float64Array[]) =>
    Math.sqrt(vectors.reduce((sum, each) => sum + each.reduce((s, value) => s + value * value, 0), 0));
  const sums = names.map((name) =>
    models.map((model) => tau(model, name)).reduce((a, b) => a.map((value, i) => value + b[i])),
  );
  const target = models.reduce((sum, model) => sum + norm(names.map((name) => tau(model, name))), 0) / models.length;
  const factor = target / norm(sums);
  return new Map(
    names.map((name, i) => {
      const own = base.get(name) as Tensor;
      const values = toFloat64(own).map((value, k) => value + factor * sums[i][k]);
      return [name, fromFloat64(values, own.shape, "float32")] as const;
    }),
  );
}

/** Models of one base come one after another; each is merged into what is there and then gone. */
export async function run(seeds: readonly number[], scale: Scale): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  const names = Array.from({ length: scale.tasks }, (_, i) => `task ${i}`);
  let lambdas: number[] = [];
  let spread = 0;
  for (const seed of seeds) {
    const { base, models, tests } = await fineTuned(runtime, seed, names, scale);
    const over = async (backbone: ReadonlyMap<string, Tensor>) => {
      const weights = { ...base, ...Object.fromEntries(backbone) };
      let sum = 0;
      for (const [i, name] of names.entries()) sum += await score(clusterModel(2, name), weights, tests[i]);
      return sum / names.length;
    };
    const start = backboneOf(base);
    let own = 0;
    for (const [i, name] of names.entries())
      own +=
        (await score(clusterModel(2, name), { ...base, ...Object.fromEntries(models[i]) }, tests[i])) / names.length;
    found.add("base", 0, { accuracy: await over(start) });
    found.add("own fine-tune of each task", 0, { accuracy: own });
    let average: ReadonlyMap<string, Tensor> = models[0];
    for (const [i, model] of models.entries()) if (i > 0) average = continualAverage(average, model, i);
    found.add("average", 0, { accuracy: await over(average) });
    for (const scaling of [0.1, 0.2, 0.3]) {
      let merged: ReadonlyMap<string, Tensor> = start;
      for (const model of models) merged = continualTaskArithmetic(start, merged, model, scaling);
      found.add(`task arithmetic, ${scaling}`, 0, { accuracy: await over(merged) });
    }
    const merge = (order: readonly number[], alpha: number) => {
      let state: OpcmState | undefined;
      const steps: number[] = [];
      for (const index of order) {
        state = opcmStep(start, models[index], state, { alpha }).state;
        steps.push(opcmLambda(state));
      }
      return { merged: opcmMerged(start, state as OpcmState), steps };
    };
    const order = names.map((_, i) => i);
    for (const alpha of [0.25, 0.5, 0.75]) {
      const { merged, steps } = merge(order, alpha);
      found.add(`OPCM, α = ${alpha}`, 0, { accuracy: await over(merged) });
      if (alpha === 0.5 && seed === seeds[0]) lambdas = steps;
    }
    found.add("the same scaling, no projection", 0, { accuracy: await over(withoutProjection(start, models)) });
    if (seed === seeds[0] && scale.orders > 0) {
      const scores: number[] = [];
      for (let i = 0; i < scale.orders; i++) {
        const turned = [...createRandom(seed, `order/${i}`).permutation(names.length)];
        scores.push(await over(merge(turned, 0.5).merged));
      }
      spread = deviation(scores);
    }
  }
  await runtime.close();
  const rows = found.rows();
  const opcm = meanOf(rows, "OPCM, α = 0.5");
  const off = Math.max(...lambdas.map((lambda, t) => Math.abs(lambda / Math.sqrt(t + 1) - 1)));
  const claims = [
    claim(
      `OPCM is at least 3 points better than the average of ${scale.tasks} models`,
      opcm >= meanOf(rows, "average") + 3,
      {
        OPCM: opcm,
        average: meanOf(rows, "average"),
      },
    ),
    claim("the projection gives at least 4 points", opcm >= meanOf(rows, "the same scaling, no projection") + 4, {
      with: opcm,
      without: meanOf(rows, "the same scaling, no projection"),
    }),
    claim("λ grows as √t, within 6 per cent", off < 0.06, { "largest deviation": off }),
  ];
  if (scale.orders > 0)
    claims.push(
      claim("the order of merging matters little: a deviation below 2 points", spread < 2, { deviation: spread }),
    );
  return {
    title: `${scale.tasks} models merged one after another: mean accuracy over their tasks`,
    seeds,
    rows,
    claims,
  };
}

async function fineTuned(runtime: Runtime, seed: number, names: readonly string[], scale: Scale) {
  const heads = Object.assign({}, ...names.map((name) => frozenHead(seed, name, width, task.classes)));
  const isBackbone = (name: string) => name.startsWith("fc");
  let base: Weights = { ...initBackbone(seed, [24, width, width]), ...heads };
  for (const name of names) {
    const data = clusterSamples(seed, name, "before", 200, task);
    const model = clusterModel(2, name);
    ({ weights: base } = await fit({
      runtime,
      model,
      weights: base,
      data,
      trainable: isBackbone,
      epochs: 4,
      rate: 2e-3,
      seed,
    }));
  }
  const models: ReadonlyMap<string, Tensor>[] = [];
  for (const name of names) {
    const data = clusterSamples(seed, name, "training", scale.samples, task);
    const { weights } = await fit({
      runtime,
      model: clusterModel(2, name),
      weights: base,
      data,
      trainable: isBackbone,
      epochs: scale.epochs,
      rate: 2e-3,
      seed,
    });
    models.push(backboneOf(weights));
  }
  const tests = names.map((name) => clusterSamples(seed, name, "test", 1000, task));
  return { base, models, tests };
}
