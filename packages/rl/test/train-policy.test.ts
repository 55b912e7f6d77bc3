import { matMul, type Runtime, type Value } from "@loomweight/graph";
import { createRuntime } from "@loomweight/graph/node";
import { sgd } from "@loomweight/optim";
import { createRandom, fromData, type Tensor, toFloat32, zeros } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  type Act,
  bindWeighting,
  fixedWeights,
  gradientWeights,
  hypervolumeWeights,
  type Rollout,
  type TrainPolicyOptions,
  trainPolicy,
  type WeightingState,
} from "../src/index.ts";
import { expectClose } from "./close.ts";

// A bandit of three arms, one context: the first arm earns the first reward, the second arm the second reward.
const [responses, arms] = [64, 3];
const contexts = fromData("float32", new Float32Array(responses).fill(1), [responses, 1, 1]);
const policy = (weights: Readonly<Record<string, Value>>, { context }: Readonly<Record<string, Value>>): Value =>
  matMul(context, weights.arms);

function softmax(logits: Float32Array): number[] {
  const factors = Array.from(logits, (logit) => Math.exp(logit));
  const sum = factors.reduce((total, factor) => total + factor, 0);
  return factors.map((factor) => factor / sum);
}

async function rollout(act: Act, step: number): Promise<Rollout> {
  const probabilities = softmax(toFloat32(await act({ context: contexts })).subarray(0, arms));
  const random = createRandom(step, "bandit");
  const actions = Int32Array.from({ length: responses }, (_, i) => {
    let left = random.uniform(i);
    const found = probabilities.findIndex((share) => (left -= share) < 0);
    return found < 0 ? arms - 1 : found;
  });
  const rewards = new Float32Array(responses * 2);
  actions.forEach((arm, i) => {
    if (arm < 2) rewards[2 * i + arm] = 1;
  });
  return {
    inputs: { context: contexts },
    actions: fromData("int32", actions, [responses, 1]),
    rewards: fromData("float32", rewards, [responses, 2]),
    group: new Int32Array(responses),
  };
}

const validate = async (act: Act) => softmax(toFloat32(await act({ context: contexts })).subarray(0, arms)).slice(0, 2);

describe("training a policy", () => {
  let runtime: Runtime;
  beforeAll(async () => {
    runtime = await createRuntime({ threads: 1 });
  });
  afterAll(() => runtime.close());

  const options = <S extends WeightingState>(
    weighting: TrainPolicyOptions<S>["weighting"],
    more: Partial<TrainPolicyOptions<S>> = {},
  ): TrainPolicyOptions<S> => ({
    runtime,
    parameters: { arms: zeros([1, arms]) as Tensor },
    policy,
    rollout,
    weighting,
    objectives: { weights: [0.8, 0.2] },
    estimator: "rloo",
    optimizer: sgd(),
    learningRate: 0.5,
    steps: 12,
    ...more,
  });

  test("the policy learns what is paid, by the plain gradient of the mixture", async () => {
    const training = await trainPolicy(options(bindWeighting(fixedWeights), { steps: 40 }));
    const steps = [];
    for await (const step of training) steps.push(step);
    const [first, second] = await validate(training.act);
    expect(steps).toHaveLength(40);
    expect(first).toBeGreaterThan(0.9);
    expect(second).toBeLessThan(0.08);
    expect(steps[39].rewards[0]).toBeGreaterThan(steps[0].rewards[0] + 0.4);
    // A first step by hand: ratio 1, gradient −Σ A ∂ log π / N.
    await training.close();
    const once = await trainPolicy(options(bindWeighting(fixedWeights), { steps: 1 }));
    for await (const _ of once);
    const uniform = fromData("float32", new Float32Array(responses * arms), [responses, 1, arms]);
    const { actions } = await rollout(async () => uniform, 1);
    const taken = [0, 1, 2].map((arm) => (actions.data as Int32Array).filter((each) => each === arm).length);
    const scores = [0.8, 0.2, 0];
    const mean = taken.reduce((sum, count, arm) => sum + count * scores[arm], 0) / responses;
    const advantage = scores.map((score) => ((score - mean) * responses) / (responses - 1));
    const total = taken.reduce((sum, count, arm) => sum + count * advantage[arm], 0);
    const expected = taken.map((count, arm) => (0.5 * (count * advantage[arm] - total / arms)) / responses);
    const { arms: found } = await once.parameters();
    expectClose(found.data as Float32Array, expected, 6);
    await once.close();
  });

  test("gradient weights move, and a single objective is the plain algorithm", async () => {
    const moving = await trainPolicy(options(bindWeighting(gradientWeights, { mu: 0.5 / 20 })));
    let last: readonly number[] = [];
    for await (const { mixture } of moving) last = mixture.weights;
    expect(Math.abs(last[0] - 0.8)).toBeGreaterThan(1e-3);
    await moving.close();
    const alone = async (weighting: TrainPolicyOptions<WeightingState>["weighting"]) => {
      const first = async (act: Act, step: number) => {
        const whole = await rollout(act, step);
        const column = toFloat32(whole.rewards).filter((_, i) => i % 2 === 0);
        return { ...whole, rewards: fromData("float32", column, [responses, 1]) };
      };
      const training = await trainPolicy(options(weighting, { objectives: { weights: [1] }, rollout: first }));
      for await (const _ of training);
      const found = toFloat32((await training.parameters()).arms);
      await training.close();
      return found;
    };
    expect(await alone(bindWeighting(gradientWeights))).toEqual(await alone(bindWeighting(fixedWeights)));
  });

  test("hypervolume weights validate before every step; the reference is the untrained policy", async () => {
    const training = await trainPolicy(options(bindWeighting(hypervolumeWeights, { hvScale: 100 }), { validate }));
    const steps = [];
    for await (const step of training) steps.push(step);
    expect(steps[0].validation?.map((value) => Number(value.toFixed(6)))).toEqual([0.333333, 0.333333]);
    expect(steps[0].mixture.advantageFactor).toBe(1);
    expect(steps[0].weighting.reference).toEqual(steps[0].validation);
    for (const { mixture, weighting } of steps.slice(1)) {
      expect(mixture.advantageFactor).toBe(weighting.meta);
      expect(weighting.meta).toBeGreaterThanOrEqual(0.5);
    }
    await training.close();
    await expect(trainPolicy(options(bindWeighting(hypervolumeWeights)))).rejects.toThrow(
      /measures the present policy/,
    );
  });

  test("goes on from what was saved, bit for bit, with several updates a rollout and a penalty", async () => {
    const given = {
      updates: 2,
      steps: 6,
      kl: { beta: 0.01 },
      validate,
      estimator: "grpo",
      learningRate: (step: number) => 0.5 / (1 + step),
    } as const;
    const weighting = bindWeighting(hypervolumeWeights, { hvScale: 100 });
    const whole = await trainPolicy(options(weighting, given));
    const steps = [];
    for await (const step of whole) steps.push(step);
    expect(steps.some(({ metrics }) => metrics.kl > 0)).toBe(true);
    const expected = toFloat32((await whole.parameters()).arms);
    await whole.close();
    const half = await trainPolicy(options(weighting, given));
    await expect(half.save()).rejects.toThrow(/no step/);
    for await (const { step } of half) if (step === 3) break;
    const saved = await half.save();
    await half.close();
    const resumed = await trainPolicy(options(weighting, { ...given, resume: saved }));
    const rest = [];
    for await (const step of resumed) rest.push(step);
    expect(rest).toEqual(steps.slice(3));
    expect(toFloat32((await resumed.parameters()).arms)).toEqual(expected);
    await resumed.close();
  });

  test("rollouts that do not fit are refused", async () => {
    const wrong = (change: (rollout: Rollout) => Rollout) => async () => {
      const training = await trainPolicy(
        options(bindWeighting(fixedWeights), { rollout: async (act, step) => change(await rollout(act, step)) }),
      );
      try {
        for await (const _ of training);
      } finally {
        await training.close();
      }
    };
    await expect(wrong((each) => ({ ...each, rewards: zeros([responses, 3]) }))()).rejects.toThrow(
      /rewards has shape \[64,3\].*\[64, 2\]/s,
    );
    await expect(wrong((each) => ({ ...each, group: [0] }))()).rejects.toThrow(/group has shape \[1\]/);
    await expect(wrong((each) => ({ ...each, mask: zeros([1, 1]) }))()).rejects.toThrow(/mask has shape/);
    const infinite = fromData("float32", new Float32Array(2 * responses).fill(Number.POSITIVE_INFINITY), [
      responses,
      2,
    ]);
    await expect(wrong((each) => ({ ...each, rewards: infinite }))()).rejects.toThrow(/reward 0 of response 0/);
  });
});
