import { createRandom, dirichlet } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { probabilitiesOf, samplerContract } from "../../test/sampler-contract.ts";
import { digamma, dirichletSlopes } from "../relax/dirichlet-slope.ts";
import { drnas } from "./drnas.ts";

samplerContract(drnas);

test("the card's example: concentrations of alpha 0.001, −0.5, 2 are 1.001, 0.606531, 3", () => {
  const mean = drnas().mean([0.001, -0.5, 2]);
  const total = 1.001 + 0.606530659712633 + 3;
  for (const [i, each] of [1.001, 0.606530659712633, 3].entries()) expect(mean[i]).toBeCloseTo(each / total, 12);
});

test("slopes are those of the quantiles, to 11 digits", () => {
  // −∂_a I_p(a, b) / density / (1 − p) by mpmath with 40 digits: small and large concentrations, both tails
  const known: [number[], number[], number[]][] = [
    [
      [0.2, 0.5, 0.3],
      [1.001, 0.6, 3],
      [0.26179683974013385, 0.5669340767135985, 0.16098686240811336],
    ],
    [
      [0.9, 0.05, 0.05],
      [1, 1, 1],
      [0.7153455250624019, 0.1355035438623347, 0.1355035438623347],
    ],
    [
      [1e-6, 0.4, 0.599999],
      [0.05, 0.5, 2],
      [0.00025180627291602006, 0.8645068315177005, 0.4201875236080021],
    ],
    [
      [0.1, 0.85, 0.05],
      [20, 200, 4],
      [0.004768856897850916, 0.00436543216887293, 0.007461511391381358],
    ],
  ];
  for (const [sample, concentrations, slopes] of known) {
    for (const [i, each] of dirichletSlopes(sample, concentrations).entries()) {
      expect(Math.abs(each / slopes[i] - 1), `${sample} ${i}`).toBeLessThan(1e-11);
    }
  }
  expect(digamma(1)).toBeCloseTo(-0.5772156649015329, 13);
});

test("on average the gradient is that of the mean: d E[p·w] / d alpha", () => {
  const alpha = [0.4, -0.6, 0.1];
  const weights = [1, -2, 0.5];
  const sums = [0, 0, 0];
  const count = 4000;
  for (let i = 0; i < count; i++) {
    const draw = drnas().draw(alpha, createRandom(i, "gradient"), { epoch: 0, epochs: 1 });
    const p = draw.inputs.sample;
    const along = weights.reduce((sum, each, j) => sum + each * p[j], 0);
    for (const j of [0, 1, 2])
      sums[j] += ((alpha[j] > 0 ? 1 : Math.exp(alpha[j])) * draw.inputs.slope[j] * (weights[j] - along)) / count;
  }
  const value = (at: readonly number[]) =>
    drnas()
      .mean(at)
      .reduce((sum, p, j) => sum + p * weights[j], 0);
  for (const j of [0, 1, 2]) {
    const moved = (by: number) => value(alpha.map((each, i) => (i === j ? each + by : each)));
    expect(Math.abs(sums[j] - (moved(1e-5) - moved(-1e-5)) / 2e-5)).toBeLessThan(0.02);
  }
  const draw = drnas().draw(alpha, createRandom(3, "gradient"), { epoch: 0, epochs: 1 });
  expect(probabilitiesOf(drnas(), alpha, draw).p).toEqual(draw.inputs.sample);
});

test("concentrations near 0 give samples at the corners, not 0 / 0", () => {
  const sample = dirichlet([1e-4, 1e-4], createRandom(1, "corner"));
  expect(sample[0] + sample[1]).toBeCloseTo(1, 12);
  expect(dirichletSlopes(sample, [1e-4, 1e-4]).every(Number.isFinite)).toBe(true);
});
