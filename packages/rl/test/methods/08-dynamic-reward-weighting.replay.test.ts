import { methodCases } from "@loomweight/fixtures";
import { add, evaluateTrace, gradient, input, matMul, mul, tanh, transpose, type Value } from "@loomweight/graph";
import { fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  type AdvantageEstimator,
  type AdvantageOptions,
  advantageEstimators,
  aggregate,
  aggregations,
  bindWeighting,
  gradientWeights,
  groupAdvantages,
  hypervolume,
  hypervolumeWeights,
  type KlKind,
  klKinds,
  klPenalty,
  mixedAdvantages,
  objectiveAdvantages,
  objectiveGram,
  policyLoss,
  tokenLogProbabilities,
} from "../../src/index.ts";
import { objectiveLosses } from "../../src/policy-graph.ts";

// Tolerances of the folder's README: float64 1e-11, weights 1e-12, hypervolume 1e-12; relative to 1 or the magnitude.
function expectNear(found: Tensor | ArrayLike<number>, expected: Tensor, tolerance = 1e-11, what = ""): void {
  const [a, b] = ["dtype" in found ? toFloat64(found) : found, toFloat64(expected)];
  expect(a.length, what).toBe(b.length);
  for (let i = 0; i < b.length; i++) {
    expect(Math.abs(a[i] - b[i]), `${what}[${i}]: ${a[i]}, ${b[i]}`).toBeLessThanOrEqual(
      tolerance * Math.max(1, Math.abs(b[i])),
    );
  }
}

interface Options {
  readonly kind: "advantages" | "policy-loss" | "hypervolume" | "gradient-weights";
  readonly gamma: number;
  readonly clipLow: number;
  readonly clipHigh: number;
  readonly dualClip: number;
  readonly maximize: readonly boolean[];
  readonly estimator: AdvantageEstimator;
  readonly lr: number;
  readonly mu: number;
  readonly accumulationSteps: number;
  readonly maxNorm: number;
  readonly klBeta: number;
  readonly klType: KlKind;
  readonly targetParameters: readonly string[];
  readonly policySgdLr: number;
}
type Case = ReturnType<typeof methodCases<Options>>[number];

const like = (name: string, { dtype, shape }: Tensor) => input(name, dtype, shape);
const valueAt = (tensor: Tensor, i: number) => toFloat64(tensor)[i];

function replayAdvantages({ options, tensor }: Case): void {
  const [rewards, mask, weights] = [tensor("rewards"), tensor("mask"), [...toFloat64(tensor("weights"))]];
  const group = toFloat64(tensor("group"));
  for (const estimator of advantageEstimators) {
    const given: AdvantageOptions = { estimator, group, mask, gamma: options.gamma };
    expectNear(groupAdvantages(tensor("token_rewards"), given), tensor(`advantage/${estimator}`), 1e-11, estimator);
    const mixed = (rewardFactor: number, advantageFactor = 1) =>
      mixedAdvantages(rewards, { weights, rewardFactor, advantageFactor }, given);
    expectNear(mixed(1), tensor(`advantage/${estimator}`), 1e-11, estimator);
    expectNear(mixed(2), tensor(`advantage_meta2/${estimator}`), 1e-11, `${estimator}, rewards doubled`);
    const doubled = toFloat64(mixed(1)).map((value) => 2 * value);
    expectNear(mixed(1, 2), fromFloat64(doubled, mask.shape), 1e-12, `${estimator}, advantages doubled`);
    for (const [k, own] of objectiveAdvantages(rewards, given).entries()) {
      expectNear(own, tensor(`advantage_objective${k}/${estimator}`), 1e-11, `${estimator}, objective ${k}`);
    }
  }
}

function replayPolicyLoss({ options, tensor }: Case): void {
  const names = ["logp_old", "logp", "logp_ref", "advantage", "mask"] as const;
  const feeds = Object.fromEntries(names.map((name) => [name, tensor(name)]));
  const values = Object.fromEntries(names.map((name) => [name, like(name, tensor(name))]));
  const { logp, logp_old: oldLogp, logp_ref: reference, advantage, mask } = values;
  const near = (what: string, value: Value) =>
    expectNear(evaluateTrace({ value }, feeds).value, tensor(what), 1e-11, what);
  for (const aggregation of aggregations) {
    const found = policyLoss({ logp, oldLogp, advantage, mask }, { ...options, aggregation });
    near(`policy_loss/${aggregation}`, found.loss);
    near(`policy_gradient/${aggregation}`, gradient(found.loss, logp));
    near("clip_fraction", found.clipFraction);
    near("dual_clip_fraction", found.dualClipFraction);
    near("approx_kl", found.approximateKl);
  }
  for (const kind of klKinds) {
    const penalty = klPenalty(logp, reference, kind);
    near(`kl/${kind}`, penalty);
    const loss = aggregate(penalty, mask);
    near(`kl_loss/${kind}`, loss);
    near(`kl_gradient/${kind}`, gradient(loss, logp));
  }
}

function replayHypervolume({ options, tensor }: Case): void {
  const rows = (name: string): number[][] => {
    const { shape } = tensor(name);
    const values = toFloat64(tensor(name));
    return Array.from({ length: shape[0] }, (_, i) => [...values.subarray(i * shape[1], (i + 1) * shape[1])]);
  };
  const [points, reference] = [rows("points"), [...toFloat64(tensor("reference"))]];
  const strict = toFloat64(tensor("strict_hypervolume"));
  // Points that are not better in everything add nothing, whether they are left out or not.
  expectNear([hypervolume(points, reference, options.maximize)], fromFloat64(strict, []), 1e-12, "all points");
  const indices = toFloat64(tensor("strict_indices"));
  const chosen = [...indices].map((i) => points[i]);
  expectNear([hypervolume(chosen, reference, options.maximize)], fromFloat64(strict, []), 1e-12, "strict points");
  // The recorded contributions depend on negative ones: after a point at which the reference clamps nothing, they differ.
  const weighting = bindWeighting(hypervolumeWeights);
  let state = weighting.init({
    weights: reference.map(() => 1 / reference.length),
    maximize: options.maximize,
    reference,
  });
  for (const [i, metrics] of points.entries()) {
    state = weighting.observe(state, { metrics, learningRate: 0 });
    if (valueAt(tensor("raised"), i) === 1) continue;
    const better = metrics.every((value, k) => (options.maximize[k] ? value > reference[k] : value < reference[k]));
    if (!better) {
      expect([state.contribution, state.meta]).toEqual([0, 0.5]);
      continue;
    }
    expectNear(
      [state.contribution],
      fromFloat64(Float64Array.of(valueAt(tensor("contribution"), i)), []),
      1e-12,
      `${i}`,
    );
    expectNear([state.meta], fromFloat64(Float64Array.of(valueAt(tensor("meta"), i)), []), 1e-12, `meta ${i}`);
    // The reference took in dominated points whose contribution was rounding (1e-16).
    expect(state.contribution > 0).toBe(valueAt(tensor("contribution"), i) > 1e-12);
    expectNear(
      [hypervolume(state.buffer, reference, options.maximize)],
      fromFloat64(Float64Array.of(valueAt(tensor("buffer_hypervolume"), i)), []),
      1e-12,
      `buffer ${i}`,
    );
  }
}

/** log softmax(tanh(x layer1ᵀ) layer2ᵀ). */
const toyPolicy = (parameters: Readonly<Record<string, Value>>, { x }: Readonly<Record<string, Value>>): Value =>
  matMul(tanh(matMul(x, transpose(parameters.layer1, [1, 0]))), transpose(parameters.layer2, [1, 0]));

function replayGradientWeights({ options, tensor, tensors }: Case): void {
  const [mask, group] = [tensor("mask"), toFloat64(tensor("group"))];
  const weighting = bindWeighting(gradientWeights, {
    mu: options.mu,
    accumulationSteps: options.accumulationSteps,
  });
  let state = weighting.init({ weights: [...toFloat64(tensor("initial_weights"))] });
  let parameters: Record<string, Tensor> = { layer1: tensor("initial/layer1"), layer2: tensor("initial/layer2") };
  for (let step = 1; tensors.has(`step${step}/x`); step++) {
    const at = (name: string) => tensor(`step${step}/${name}`);
    const given: AdvantageOptions = { estimator: options.estimator, group, mask, gamma: options.gamma };
    const advantages = objectiveAdvantages(at("rewards"), given);
    const count = advantages.length;
    const recorded = toFloat64(at("advantages"));
    for (const [k, own] of advantages.entries()) {
      const expected = Float64Array.from({ length: recorded.length / count }, (_, i) => recorded[i * count + k]);
      expectNear(own, fromFloat64(expected, mask.shape), 1e-11, `advantage ${k}`);
    }
    const feeds: Record<string, Tensor> = {
      ...parameters,
      "input/x": at("x"),
      actions: at("actions"),
      mask,
      logpRef: at("logp_ref"),
      ...Object.fromEntries(advantages.map((own, k) => [`advantage/${k}`, own])),
    };
    const values = Object.fromEntries(Object.entries(feeds).map(([name, each]) => [name, like(name, each)]));
    const weights = { layer1: values.layer1, layer2: values.layer2 };
    const own = advantages.map((_, k) => values[`advantage/${k}`]);
    // Clipping off, as the scripts have it; the reference policy is given by its log-probabilities.
    const loss = { clipLow: 100, clipHigh: 100, dualClip: 3 };
    const logp = tokenLogProbabilities(toyPolicy(weights, { x: values["input/x"] }), values.actions);
    const plain = objectiveLosses({ policy: toyPolicy, loss }, weights, values, own);
    const penalty = aggregate(klPenalty(logp, values.logpRef, options.klType), values.mask);
    const losses = plain.map((each) => addScaled(each, penalty, options.klBeta));
    const whole = losses.map((each) => gradient(each, weights));
    const flat = evaluateTrace(
      Object.fromEntries(
        whole.flatMap((each, k) => [
          [`${k}/1`, each.layer1],
          [`${k}/2`, each.layer2],
        ]),
      ),
      feeds,
    );
    const full = Float64Array.from(
      whole.flatMap((_, k) => [...toFloat64(flat[`${k}/1`]), ...toFloat64(flat[`${k}/2`])]),
    );
    expectNear(full, at("gradients_full"), 1e-11, "gradients");
    const targets = (name: string) => options.targetParameters.includes(name);
    const gram = evaluateTrace(
      { gram: objectiveGram(losses, weights, { maxNorm: options.maxNorm, targets }) },
      feeds,
    ).gram;
    expectNear(gram, at("gram"), 1e-11, "gram");
    state = weighting.observe(state, { gram: toFloat64(gram), learningRate: options.lr });
    expectNear(state.weights, at("weights"), 1e-12, `weights after step ${step}`);
    const combined = mixedAdvantages(at("rewards"), weighting.mix(state), given);
    expectNear(combined, at("combined_advantage"), 1e-11, "combined advantage");
    parameters = { layer1: at("policy/layer1"), layer2: at("policy/layer2") };
  }
}

const addScaled = (a: Value, b: Value, factor: number): Value => (factor === 0 ? a : add(a, mul(b, factor)));

const replays = {
  advantages: replayAdvantages,
  "policy-loss": replayPolicyLoss,
  hypervolume: replayHypervolume,
  "gradient-weights": replayGradientWeights,
};

describe("dynamic reward weighting, recorded", () => {
  const cases = methodCases<Options>("08-dynamic-reward-weighting");
  if (cases.length === 0) test("recorded cases", (context) => context.skip("the fixtures do not hold this method"));
  for (const each of cases) test(each.name, () => replays[each.options.kind](each));
});
