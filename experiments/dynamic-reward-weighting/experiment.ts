import { createRuntime } from "@loomweight/graph/node";
import { bindWeighting, fixedWeights, gradientWeights, hypervolumeWeights } from "@loomweight/rl";
import { claim, collector, meanOf, type Results } from "../shared/report.ts";
import { runBandit } from "./bandit.ts";

const third = [1 / 3, 1 / 3, 1 / 3];
const starts = {
  "from 0.8, 0.1, 0.1": [0.8, 0.1, 0.1],
  "from 0.98, 0.01, 0.01": [0.98, 0.01, 0.01],
  "from 0.1, 0.8, 0.1": [0.1, 0.8, 0.1],
  "from a third each": third,
} as const;

/** Rates of the two parts: the second wants a policy that is still learning when it ends. */
const rates = { weights: 2, steps: 0.5 };
export const whole = { steps: 120, ratios: [5, 20], starts: Object.keys(starts) as (keyof typeof starts)[] };
export const short: typeof whole = { steps: 120, ratios: [5], starts: ["from 0.8, 0.1, 0.1"] };

/**
 * A contextual bandit with three rewards that pull apart: fixed weights against gradient weights from four starts, and
 * fixed steps against steps that follow the hypervolume. GRPO, 16 prompts of 8 samples a step.
 */
export async function run(seeds: readonly number[], scale: typeof whole): Promise<Results> {
  const found = collector();
  const runtime = await createRuntime({ threads: 1 });
  for (const seed of seeds) {
    const common = { runtime, seed, estimator: "grpo", steps: scale.steps } as const;
    for (const name of scale.starts) {
      const given = { ...common, weights: starts[name], learningRate: rates.weights };
      const fixed = await runBandit({ ...given, weighting: bindWeighting(fixedWeights) });
      found.add(`fixed, ${name}`, 144, { value: fixed.value });
      for (const ratio of scale.ratios) {
        const weighting = bindWeighting(gradientWeights, { mu: rates.weights / ratio });
        const { value } = await runBandit({ ...given, weighting });
        found.add(`gradient weights, ratio ${ratio}, ${name}`, 144, { value });
      }
    }
    const given = { ...common, weights: third };
    for (const factor of [1, 2]) {
      const learningRate = factor * rates.steps;
      const { value, hypervolume } = await runBandit({
        ...given,
        weighting: bindWeighting(fixedWeights),
        learningRate,
      });
      found.add(`fixed, a third each, lr ${learningRate}`, 144, { value, hypervolume });
    }
    for (const applyTo of ["advantage", "reward"] as const) {
      const weighting = bindWeighting(hypervolumeWeights, { hvScale: 1e6, applyTo });
      const { value, hypervolume } = await runBandit({ ...given, weighting, learningRate: rates.steps });
      found.add(`hypervolume on the ${applyTo}, lr ${rates.steps}`, 144, { value, hypervolume });
    }
  }
  await runtime.close();
  const rows = found.rows();
  const value = (name: string) => meanOf(rows, name, "value");
  const claims = [];
  for (const name of scale.starts.filter((each) => starts[each][0] > 0.5)) {
    const [before, after] = [value(`fixed, ${name}`), value(`gradient weights, ratio 5, ${name}`)];
    claims.push(
      claim(`gradient weights gain at least 0.03 over fixed ones, ${name}`, after - before >= 0.03, {
        fixed: before,
        "gradient weights": after,
      }),
    );
  }
  const plain = `fixed, a third each, lr ${rates.steps}`;
  const guided = `hypervolume on the advantage, lr ${rates.steps}`;
  claims.push(
    claim("the hypervolume's factor on the advantages gains at the same learning rate", value(guided) > value(plain), {
      fixed: value(plain),
      guided: value(guided),
      "fixed, twice the rate": value(`fixed, a third each, lr ${2 * rates.steps}`),
    }),
    claim(
      "the same factor on the rewards cancels under GRPO",
      Math.abs(value(`hypervolume on the reward, lr ${rates.steps}`) - value(plain)) < 0.005,
      { fixed: value(plain), "on the reward": value(`hypervolume on the reward, lr ${rates.steps}`) },
    ),
  );
  if (scale.starts.includes("from a third each")) {
    const uniform = [value("fixed, from a third each"), value("gradient weights, ratio 5, from a third each")];
    claims.push(
      claim("from uniform weights, which suit the measure, gradient weights do not help", uniform[1] <= uniform[0], {
        fixed: uniform[0],
        "gradient weights": uniform[1],
      }),
    );
  }
  return { title: "Three rewards of a bandit: mean reward at the end", seeds, rows, claims };
}
