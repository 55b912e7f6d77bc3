import { gemm, type Runtime } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import { combineLowRank, type LowRankUpdate, loraLego } from "@loomweight/merge";
import { fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { clusterModel, clusterSamples, frozenHead, initBackbone, initLora, loraModel } from "../shared/clusters.ts";
import { fit, score, type Weights } from "../shared/fit.ts";
import { claim, collector, meanOf, type Results } from "../shared/report.ts";

const [width, rank, tasks] = [48, 8, 4];
const layers = { fc1: [width, 24], fc2: [width, width] } as const;
const task = { classes: 4, clusters: 2, spread: 0.75 };
const taskNames = Array.from({ length: tasks }, (_, i) => `task ${i}`);
type Adapter = Readonly<Record<keyof typeof layers, LowRankUpdate>>;

export interface Scale {
  readonly samples: number;
  readonly epochs: number;
}
export const whole: Scale = { samples: 800, epochs: 20 };
export const short: Scale = { samples: 400, epochs: 16 };

/** `start` tells adapters that begin alike ("same") from those that each draw an A of their own. */
async function trainAdapter(runtime: Runtime, seed: number, base: Weights, name: string, start: string, scale: Scale) {
  const factors = initLora(seed, start === "same" ? "" : name, layers, rank);
  const { weights } = await fit({
    runtime,
    model: loraModel(2, name),
    weights: { ...base, ...factors },
    data: clusterSamples(seed, name, "training", scale.samples, task),
    trainable: (each) => each.includes("lora"),
    epochs: scale.epochs,
    rate: 1e-2,
    seed,
  });
  return Object.fromEntries(
    Object.keys(layers).map((layer) => [
      layer,
      { a: weights[`${layer}.lora_A`], b: weights[`${layer}.lora_B`], scaling: 1 },
    ]),
  ) as Adapter;
}

/** The base with updates added to its layers. */
function withUpdates(base: Weights, merge: (layer: keyof typeof layers) => LowRankUpdate | undefined): Weights {
  const changed = Object.keys(layers).map((layer) => {
    const update = merge(layer as keyof typeof layers);
    const name = `${layer}.weight`;
    if (update === undefined) return [name, base[name]];
    const delta = toFloat64(
      gemm(
        fromFloat64(toFloat64(update.b), update.b.shape),
        fromFloat64(toFloat64(update.a), update.a.shape),
      ) as Tensor,
    );
    const own = toFloat64(base[name]);
    return [
      name,
      fromFloat64(
        own.map((value, i) => value + update.scaling * delta[i]),
        base[name].shape,
        "float32",
      ),
    ];
  });
  return { ...base, ...Object.fromEntries(changed) };
}

/** The mean of factors, A and B apart. */
function averageOfFactors(updates: readonly LowRankUpdate[]): LowRankUpdate {
  // √(1/N²) of each factor: A and B are both divided by N.
  return combineLowRank(
    updates,
    updates.map(() => 1 / updates.length ** 2),
    { combination: "linear" },
  );
}

/** The same update, its units in another order. */
function turned({ a, b, scaling }: LowRankUpdate, by: number): LowRankUpdate {
  const [left, right] = [toFloat64(a), toFloat64(b)];
  const inputs = a.shape[1];
  const at = (j: number) => (j + by) % rank;
  return {
    a: fromFloat64(
      left.map((_, i) => left[at(Math.floor(i / inputs)) * inputs + (i % inputs)]),
      a.shape,
    ),
    b: fromFloat64(
      right.map((_, i) => right[Math.floor(i / rank) * rank + at(i % rank)]),
      b.shape,
    ),
    scaling,
  };
}

/** Four LoRAs of one base become one: accuracy over the four tasks, by way of merging. */
export async function run(seeds: readonly number[], scale: Scale, starts = ["same", "different"]): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  for (const seed of seeds) {
    const heads = Object.assign({}, ...taskNames.map((name) => frozenHead(seed, name, width, task.classes)));
    let base: Weights = { ...initBackbone(seed, [24, width, width]), ...heads };
    // A short joint training, so that the base knows something of every task.
    for (const name of taskNames) {
      const data = clusterSamples(seed, name, "before", 200, task);
      ({ weights: base } = await fit({
        runtime,
        model: clusterModel(2, name),
        weights: base,
        data,
        trainable: (each) => each.startsWith("fc"),
        epochs: 4,
        rate: 2e-3,
        seed,
      }));
    }
    const tests = taskNames.map((name) => clusterSamples(seed, name, "test", 1000, task));
    const over = async (weights: Weights) => {
      let sum = 0;
      for (const [i, name] of taskNames.entries()) sum += await score(clusterModel(2, name), weights, tests[i]);
      return sum / tasks;
    };
    found.add("base", 0, { accuracy: await over(base) });
    for (const start of starts) {
      const adapters: Adapter[] = [];
      for (const name of taskNames) adapters.push(await trainAdapter(runtime, seed, base, name, start, scale));
      const of = (layer: keyof typeof layers) => adapters.map((adapter) => adapter[layer]);
      let own = 0;
      for (const [i, name] of taskNames.entries()) {
        const weights = withUpdates(base, (layer) => adapters[i][layer]);
        own += (await score(clusterModel(2, name), weights, tests[i])) / tasks;
      }
      const add = async (name: string, merge: (layer: keyof typeof layers) => LowRankUpdate) =>
        found.add(`${name}, ${start} start`, 0, { accuracy: await over(withUpdates(base, merge)) });
      found.add(`own adapter, ${start} start`, 0, { accuracy: own });
      await add("average of factors", (layer) => averageOfFactors(of(layer)));
      await add("average of factors, units turned", (layer) =>
        averageOfFactors(of(layer).map((each, i) => turned(each, i))),
      );
      for (const k of [rank, 2 * rank, 3 * rank])
        await add(`LEGO, k = ${k}`, (layer) => loraLego(of(layer), { rank: k }));
      await add(`LEGO, k = ${2 * rank}, units turned`, (layer) =>
        loraLego(
          of(layer).map((each, i) => turned(each, i)),
          { rank: 2 * rank },
        ),
      );
      await add(`LEGO, k = ${2 * rank}, without reweighting`, (layer) =>
        loraLego(of(layer), { rank: 2 * rank, parameterReweight: false, outputReweight: false }),
      );
      await add(`svd of the mean, rank ${2 * rank}`, (layer) =>
        combineLowRank(of(layer), [0.25, 0.25, 0.25, 0.25], { combination: "svd", rank: 2 * rank }),
      );
      await add("task arithmetic, 0.3", (layer) =>
        combineLowRank(of(layer), [0.3, 0.3, 0.3, 0.3], { combination: "cat" }),
      );
    }
  }
  await runtime.close();
  const rows = found.rows();
  const mean = (name: string) =>
    starts.reduce((sum, start) => sum + meanOf(rows, `${name}, ${start} start`), 0) / starts.length;
  const lego = `LEGO, k = ${2 * rank}`;
  const claims = [
    claim(
      "k = 2 r is at least 2 points better than the average of factors",
      mean(lego) >= mean("average of factors") + 2,
      {
        LEGO: mean(lego),
        average: mean("average of factors"),
      },
    ),
    claim("reweighting gives at least 2 points", mean(lego) >= mean(`${lego}, without reweighting`) + 2, {
      with: mean(lego),
      without: mean(`${lego}, without reweighting`),
    }),
    claim(
      "the order of units does not matter to LEGO, and does to the average of factors",
      Math.abs(mean(lego) - mean(`${lego}, units turned`)) < 1e-3 &&
        Math.abs(mean("average of factors") - mean("average of factors, units turned")) > 0.1,
      {
        LEGO: mean(lego) - mean(`${lego}, units turned`),
        average: mean("average of factors") - mean("average of factors, units turned"),
      },
    ),
  ];
  return { title: "Four LoRAs of rank 8 as one: mean accuracy over their tasks", seeds, rows, claims };
}
