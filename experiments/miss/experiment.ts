import { lora, miss } from "@loomweight/adapters";
import type { AdapterSpec } from "@loomweight/adapters/attach";
import { crossEntropy } from "@loomweight/graph/nn";
import { createRuntime } from "@loomweight/graph/node";
import type { AdapterLoss } from "@loomweight/train";
import { adapt, adaptedAccuracy, frozenAccuracy, frozenModel } from "../shared/adapted-model.ts";
import { fit, score } from "../shared/fit.ts";
import { turnedGlyphs } from "../shared/glyphs.ts";
import { hiddenLayers, initMlp, mlpModel } from "../shared/mlp.ts";
import { claim, collector, mean, type Results } from "../shared/report.ts";

export interface Scale {
  readonly pretrain: number;
  readonly adapt: number;
  readonly epochs: number;
  readonly test: number;
  readonly rates: readonly number[];
}
export const whole: Scale = { pretrain: 3000, adapt: 1000, epochs: 6, test: 1500, rates: [1e-3, 3e-3, 1e-2] };
/** One rate and the first two epochs, for the test. */
export const short: Scale = { pretrain: 1500, adapt: 1000, epochs: 2, test: 200, rates: [3e-3] };

const batchSize = 50;
/** About 4,000 trained values each, on the two hidden layers. */
const variants: readonly (readonly [string, AdapterSpec])[] = [
  [
    "LoRA, r = 5 and 8",
    {
      method: lora,
      options: { rank: 5, alpha: 10 },
      patterns: { rank: { fc2: 8 }, alpha: { fc2: 16 } },
      targets: [...hiddenLayers],
    },
  ],
  ["miss, r = 16", { method: miss, options: { rank: 16 }, targets: [...hiddenLayers] }],
  ["bat, r = 16", { method: miss, options: { rank: 16, mode: "bat" }, targets: [...hiddenLayers] }],
  ["bat-row, r = 16", { method: miss, options: { rank: 16, mode: "bat-row" }, targets: [...hiddenLayers] }],
];

/** An MLP that knows upright glyphs is adapted to glyphs turned by 60°, its hidden layers frozen but for an adapter. */
export async function run(seeds: readonly number[], scale: Scale, only?: readonly string[]): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  const { pretrain, epochs, rates } = scale;
  for (const seed of seeds) {
    const { weights } = await fit({
      runtime,
      model: mlpModel(),
      weights: initMlp(seed),
      data: turnedGlyphs(seed, 0, 0, pretrain),
      epochs: 6,
      rate: 1e-3,
      seed,
    });
    const data = turnedGlyphs(seed, 60, pretrain, scale.adapt);
    const test = turnedGlyphs(seed, 60, pretrain + scale.adapt, scale.test);
    const model = frozenModel(weights, { image: { dtype: "float32", shape: ["batch", 256] } }, (own, { image }) => ({
      logits: mlpModel()(own, image),
    }));
    found.add("frozen", 0, { "final accuracy": await frozenAccuracy(runtime, model, test) });
    const loss: AdapterLoss = ({ logits }, { label }) => crossEntropy(logits, label, { ignore: null });
    for (const rate of rates) {
      for (const [name, adapter] of variants) {
        if (only !== undefined && !only.includes(name)) continue;
        const adapted = await adapt({ runtime, model, adapter, data, loss, epochs, batchSize, rate, seed });
        const first = adapted.losses.slice(0, Math.floor(scale.adapt / batchSize));
        found.add(`${name}, rate ${rate}`, adapted.trained, {
          "loss of epoch 1": mean(first),
          "final accuracy": await adaptedAccuracy(runtime, adapted, test),
        });
      }
      if (only !== undefined) continue;
      const full = await fullTraining(weights, rate);
      found.add(`full, rate ${rate}`, 49_408, full);
    }

    /** Both hidden layers trained whole, for comparison. */
    async function fullTraining(base: typeof weights, rate: number) {
      const losses: number[] = [];
      const trained = await fit({
        runtime,
        model: mlpModel(),
        weights: base,
        data,
        trainable: (name) => /^fc\d/.test(name),
        epochs,
        batchSize,
        rate,
        seed,
        schedule: "constant",
        onStep: (value) => losses.push(value),
      });
      return {
        "loss of epoch 1": mean(losses.slice(0, Math.floor(scale.adapt / batchSize))),
        "final accuracy": await score(mlpModel(), trained.weights, test),
      };
    }
  }
  await runtime.close();
  const rows = found.rows();
  const values = (name: string, rate: number, measure: string) =>
    rows.find((row) => row.name === `${name}, rate ${rate}`)?.values[measure] ?? [];
  const [loraName, missName, batName] = variants.map(([name]) => name);
  /** Whether a is below b: at every seed for rates up to 0.003, on the mean above. */
  const below = (a: string, b: string) =>
    rates.every((rate) => {
      const [x, y] = [a, b].map((name) => values(name, rate, "loss of epoch 1"));
      return rate <= 3e-3 ? x.every((value, i) => value < y[i]) : mean(x) < mean(y);
    });
  const middle = (name: string, measure: string) => mean(rates.flatMap((rate) => values(name, rate, measure)));
  const losses = Object.fromEntries(
    [loraName, missName, batName].map((name) => [name, middle(name, "loss of epoch 1")]),
  );
  const accuracies = Object.fromEntries(
    [loraName, missName, batName].map((name) => [name, middle(name, "final accuracy")]),
  );
  const claims = [
    claim(
      "in the first epoch miss has a lower loss than LoRA: at every seed for rates up to 0.003, on the mean at 0.01",
      below(missName, loraName),
      losses,
    ),
    claim("in the first epoch bat has a lower loss than miss, in the same sense", below(batName, missName), losses),
    claim(
      "bat ends 2 points above miss, on the mean over rates",
      accuracies[batName] >= accuracies[missName] + 2,
      accuracies,
    ),
    claim(
      "bat ends at least where LoRA does, on the mean over rates",
      accuracies[batName] >= accuracies[loraName],
      accuracies,
    ),
  ].slice(0, rates.length === 1 ? 2 : 4);
  return { title: "Bone, BAT and MiSS: loss of the first epoch on turned glyphs (rate 0.003)", seeds, rows, claims };
}
