import { gather, matMul, type Runtime, reshape, type Value } from "@loomweight/graph";
import { sgd } from "@loomweight/optim";
import {
  type Act,
  type BoundWeighting,
  hypervolume,
  type Rollout,
  trainPolicy,
  type WeightingState,
} from "@loomweight/rl";
import { createRandom, fromData, type Tensor, toFloat32, zeros } from "@loomweight/tensor";

export const sizes = { contexts: 40, actions: 12, features: 12, prompts: 16, samples: 8 };

/** Chances of three rewards: the first is rare, the second common and against the first, the third in between. */
export interface Bandit {
  readonly features: Tensor;
  /** [objective][context · actions + action] */
  readonly chances: readonly Float64Array[];
}

const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

export function createBandit(seed: number): Bandit {
  const { contexts, actions, features } = sizes;
  const random = createRandom(seed, "bandit");
  const seen = new Float32Array(contexts * features);
  random.child("features").normalsInto(seen);
  const score = (name: string): Float64Array => {
    const direction = new Float64Array(features * actions);
    random.child(name).normalsInto(direction);
    const scores = new Float64Array(contexts * actions);
    for (let c = 0; c < contexts; c++) {
      for (let a = 0; a < actions; a++) {
        let sum = 0;
        for (let f = 0; f < features; f++) sum += seen[c * features + f] * direction[f * actions + a];
        scores[c * actions + a] = sum / Math.sqrt(features);
      }
    }
    return scores;
  };
  const [hard, easy, between] = [score("hard"), score("easy"), score("between")];
  return {
    features: fromData("float32", seen, [contexts, features]),
    chances: [
      hard.map((u) => sigmoid(4 * u - 5)),
      easy.map((u, i) => sigmoid(1.5 * u - hard[i] + 1)),
      between.map((u, i) => sigmoid(3 * u + 0.3 * hard[i] - 1)),
    ],
  };
}

const policy =
  (features: Tensor) =>
  (weights: Readonly<Record<string, Value>>, { context }: Readonly<Record<string, Value>>): Value =>
    reshape(matMul(gather(features, context), weights.table), [-1, 1, sizes.actions]);

/** π(a | c) of every context, [contexts · actions]. */
async function probabilities(act: Act): Promise<Float64Array> {
  const { contexts, actions } = sizes;
  const all = fromData(
    "int32",
    Int32Array.from({ length: contexts }, (_, c) => c),
    [contexts],
  );
  const logits = toFloat32(await act({ context: all }));
  const result = new Float64Array(contexts * actions);
  for (let c = 0; c < contexts; c++) {
    const row = logits.subarray(c * actions, (c + 1) * actions);
    const largest = Math.max(...row);
    const factors = Array.from(row, (logit) => Math.exp(logit - largest));
    const sum = factors.reduce((total, factor) => total + factor, 0);
    for (const [a, factor] of factors.entries()) result[c * actions + a] = factor / sum;
  }
  return result;
}

/** The expected value of each reward under the policy, exact. */
export async function values(bandit: Bandit, act: Act): Promise<number[]> {
  const shares = await probabilities(act);
  return bandit.chances.map(
    (chances) => chances.reduce((sum, chance, i) => sum + chance * shares[i], 0) / sizes.contexts,
  );
}

export interface BanditRun<S extends WeightingState> {
  readonly runtime: Runtime;
  readonly seed: number;
  readonly weights: readonly number[];
  readonly weighting: BoundWeighting<S>;
  readonly estimator: "grpo" | "rloo";
  readonly learningRate: number;
  readonly steps: number;
}

/** Mean of the three rewards at the end, and the hypervolume of all policies on the way, from the untrained one. */
export async function runBandit<S extends WeightingState>(
  given: BanditRun<S>,
): Promise<{ value: number; hypervolume: number; weights: readonly number[] }> {
  const { runtime, seed, weights, weighting, estimator, learningRate, steps } = given;
  const { contexts, actions, prompts, samples } = sizes;
  const bandit = createBandit(seed);
  const rollout = async (act: Act, step: number): Promise<Rollout> => {
    const shares = await probabilities(act);
    const random = createRandom(seed, `rollout ${step}`);
    const [where, draws, luck] = ["context", "action", "reward"].map((name) => random.child(name));
    const count = prompts * samples;
    const context = new Int32Array(count);
    const action = new Int32Array(count);
    const rewards = new Float32Array(3 * count);
    const group = Int32Array.from({ length: count }, (_, i) => Math.floor(i / samples));
    for (let i = 0; i < count; i++) {
      const c = Math.floor(where.uniform(group[i]) * contexts);
      let left = draws.uniform(i);
      let a = 0;
      while (a < actions - 1 && (left -= shares[c * actions + a]) >= 0) a++;
      context[i] = c;
      action[i] = a;
      for (let k = 0; k < 3; k++) {
        rewards[3 * i + k] = luck.uniform(3 * i + k) < bandit.chances[k][c * actions + a] ? 1 : 0;
      }
    }
    return {
      inputs: { context: fromData("int32", context, [count]) },
      actions: fromData("int32", action, [count, 1]),
      rewards: fromData("float32", rewards, [count, 3]),
      group,
    };
  };
  const training = await trainPolicy({
    runtime,
    parameters: { table: zeros([sizes.features, actions]) as Tensor },
    policy: policy(bandit.features),
    rollout,
    validate: (act) => values(bandit, act),
    weighting,
    objectives: { weights },
    estimator,
    // The experiment's gradients are small and taken as they are.
    gradients: { maxNorm: undefined },
    optimizer: sgd(),
    learningRate,
    steps,
  });
  const points: number[][] = [];
  let last = weights;
  for await (const { validation, mixture } of training) {
    points.push([...(validation as readonly number[])]);
    last = mixture.weights;
  }
  const [first, ...later] = [...points, await values(bandit, training.act)];
  await training.close();
  const final = later[later.length - 1];
  return {
    value: final.reduce((sum, value) => sum + value, 0) / final.length,
    hypervolume: hypervolume(later, first),
    weights: last,
  };
}
