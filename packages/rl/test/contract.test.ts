import { createRandom } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  bindWeighting,
  gradientWeights,
  hypervolumeWeights,
  influence,
  rewardWeightings,
  updateWeights,
} from "../src/index.ts";
import { expectClose } from "./close.ts";

// Laws of every weighting, over random observations.
describe.each(rewardWeightings.map((each) => [each.name, each] as const))("%s", (_, weighting) => {
  const bound = bindWeighting(weighting);
  const objectives = { weights: [0.5, 0.3, 0.2], maximize: [true, false, true], reference: [0.1, 0.9, 0.2] };
  const seen = (step: number) => {
    const random = createRandom(step, "observation");
    const g = Array.from({ length: 6 }, (_, i) => random.normal(i));
    const gram = Float64Array.from({ length: 9 }, (_, at) => {
      const [k, j] = [Math.floor(at / 3), at % 3];
      return g[2 * k] * g[2 * j] + g[2 * k + 1] * g[2 * j + 1];
    });
    return { metrics: [0, 1, 2].map((k) => random.uniform(10 + k)), gram, learningRate: 1e-6 };
  };

  test("weights stay a mixture, factors positive, the state plain data", () => {
    let state = bound.init(objectives);
    for (let step = 1; step <= 30; step++) {
      state = bound.observe(state, seen(step));
      const { weights, rewardFactor, advantageFactor } = bound.mix(state);
      expect(weights.reduce((sum, weight) => sum + weight, 0)).toBeCloseTo(1, 12);
      expect(weights.every((weight) => weight > 0)).toBe(true);
      expect(rewardFactor > 0 && advantageFactor > 0).toBe(true);
      expect(JSON.parse(JSON.stringify(state))).toEqual(state);
    }
  });

  test("observing changes no state that is kept, and is the same again from a saved one", () => {
    const state = bound.observe(bound.init(objectives), seen(1));
    const saved = JSON.stringify(state);
    const next = bound.observe(state, seen(2));
    expect(JSON.stringify(state)).toBe(saved);
    expect(bound.observe(JSON.parse(saved) as typeof state, seen(2))).toEqual(next);
  });

  test("refuses weights that are no mixture and options that it does not have", () => {
    expect(() => bound.init({ ...objectives, weights: [0.5, 0.6] })).toThrow(/no mixture.*sum 1\.1/s);
    expect(() => bound.init({ ...objectives, weights: [] })).toThrow(/no mixture/);
    expect(() => bindWeighting(weighting, { nu: 1 } as never)).toThrow(/unknown option/);
  });
});

describe("gradient weights", () => {
  const gram = [
    [1, 0],
    [-0.5, 1],
    [0.2, 0.8],
  ];
  const products = gram.flatMap((a) => gram.map((b) => a[0] * b[0] + a[1] * b[1]));

  test("the card's worked example", () => {
    const own = influence(products, 3);
    expectClose(own, [0.7, 1.45, 1.58], 12);
    const found = updateWeights([0.5, 0.3, 0.2], own, { learningRate: 0.1, mu: 1 });
    expectClose(found, [0.479956, 0.310402, 0.209642], 6);
  });

  test("equal influences and an infinite pull change nothing; twins keep their ratio", () => {
    const weights = [0.5, 0.3, 0.2];
    expectClose(updateWeights(weights, [2, 2, 2], { learningRate: 1, mu: 1 }), weights, 12);
    expectClose(updateWeights(weights, [1, 2, 3], { learningRate: 1, mu: Number.POSITIVE_INFINITY }), weights, 15);
    const [a, b] = updateWeights(weights, [0.7, 0.7, -3], { learningRate: 1, mu: 2 });
    expect(a / b).toBeCloseTo(5 / 3, 12);
  });

  test("a flipped orthogonal gradient changes nothing; one against the sum loses weight", () => {
    const orthogonal = (sign: number) => influence([1, 0, 0, 1, 0, 0, 0, 0, sign * sign].map(Number), 3);
    expect(orthogonal(1)).toEqual(orthogonal(-1));
    const against = influence([1, -0.5, -0.5, 0.25], 2); // g₂ = −g₁ / 2
    const [, weight] = updateWeights([0.5, 0.5], against, { learningRate: 0.1, mu: 1 });
    expect(weight).toBeLessThan(0.5);
  });

  test("weights follow the mean influence of some steps, and keep to the least one", () => {
    const bound = bindWeighting(gradientWeights, { mu: 1, accumulationSteps: 2, minWeight: 0.1 });
    const start = bound.init({ weights: [0.5, 0.5] });
    const first = bound.observe(start, { gram: Float64Array.of(40, 0, 0, 0), learningRate: 1 });
    expect(first.weights).toEqual([0.5, 0.5]);
    const second = bound.observe(first, { gram: Float64Array.of(40, 0, 0, 0), learningRate: 1 });
    expect(second.weights[1]).toBeCloseTo(0.1, 9);
    expect(() => bindWeighting(gradientWeights, { minWeight: 0.5 }).init({ weights: [0.5, 0.5] })).toThrow(/minWeight/);
    expect(() => bound.init({ weights: [1, 0] })).toThrow(/weight of 0 stays 0/);
    expect(() => bound.observe(start, { gram: Float64Array.of(1, 2), learningRate: 1 })).toThrow(/4 numbers/);
    expect(() => bound.observe(start, { learningRate: 1 })).toThrow(/inner products/);
    expect(() => bound.observe(start, { gram: Float64Array.of(Number.NaN, 0, 0, 0), learningRate: 1 })).toThrow(
      /gradient of objective 0/,
    );
  });
});

describe("hypervolume weights", () => {
  test("the card's worked examples of meta", () => {
    const bound = bindWeighting(hypervolumeWeights);
    let state = bound.init({ weights: [0.5, 0.5], reference: [0, 0] });
    for (const metrics of [
      [0.6, 0.3],
      [0.4, 0.5],
      [0.5, 0.45],
    ]) {
      state = bound.observe(state, { metrics, learningRate: 0 });
    }
    expect(state.contribution).toBeCloseTo(0.015, 12);
    expect(state.meta).toBeCloseTo(0.522498, 6);
    const mixed = { weights: [0.4, 0.3, 0.3], maximize: [true, false, true], reference: [0.6, 500, 0.1] };
    let three = bound.observe(bound.init(mixed), { metrics: [0.62, 450, 0.3], learningRate: 0 });
    three = bound.observe(three, { metrics: [0.65, 470, 0.35], learningRate: 0 });
    expect(three.meta).toBeCloseTo(0.874419, 6);
    expect(bound.observe(bound.init(mixed), { metrics: [0.65, 450, 0.05], learningRate: 0 }).meta).toBe(0.5);
  });

  test("meta acts on the advantages, or on the rewards where asked; slack moves the reference", () => {
    const seen = { metrics: [1], learningRate: 0 };
    const factors = (applyTo: "advantage" | "reward") => {
      const bound = bindWeighting(hypervolumeWeights, { applyTo });
      const { rewardFactor, advantageFactor } = bound.mix(
        bound.observe(bound.init({ weights: [1], reference: [0] }), seen),
      );
      return [rewardFactor, advantageFactor];
    };
    const meta = 0.5 + 1.5 * Math.tanh(1);
    expect(factors("advantage")).toEqual([1, meta]);
    expect(factors("reward")).toEqual([meta, 1]);
    const slack = bindWeighting(hypervolumeWeights, { referenceSlack: 0.1 });
    expect(slack.init({ weights: [0.5, 0.5], reference: [2, 2], maximize: [true, false] }).reference).toEqual([
      1.8, 2.2,
    ]);
    expect(() => slack.init({ weights: [1] })).toThrow(/untrained policy/);
    expect(() => slack.init({ weights: [1], reference: [1], maximize: [true, false] })).toThrow(/1 values/);
  });
});
