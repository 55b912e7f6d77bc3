import { createRandom, LoomweightError } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { probabilitiesOf, samplerContract } from "../../test/sampler-contract.ts";
import { gumbelChoice } from "../relax/gumbel.ts";
import { gdas } from "./gdas.ts";

samplerContract(gdas);

test("the card's example: gumbels 0.3 and −0.2, tau 0.5 choose the second; h = [0.231969, 0.768031]", () => {
  const alpha = [0, Math.log(3)];
  const draw = gumbelChoice(alpha, [Math.exp(-0.3), Math.exp(0.2)], 0.5);
  expect(draw.index).toBe(1);
  const { p, slope } = probabilitiesOf(gdas(), alpha, draw, [1, 0]);
  expect(p).toEqual([0, 1]);
  const h = [0.231969, 0.768031];
  // d h_0 / d alpha = h_0 (δ − h) / tau
  expect(slope[0]).toBeCloseTo((h[0] * (1 - h[0])) / 0.5, 5);
  expect(slope[1]).toBeCloseTo((-h[0] * h[1]) / 0.5, 5);
});

test("the temperature falls linearly over the epochs", () => {
  const tau = (epoch: number) => gdas().draw([0, 0], createRandom(0, "tau"), { epoch, epochs: 3 }).inputs.tau[0];
  for (const [epoch, each] of [10, 5.05, 0.1].entries()) expect(tau(epoch)).toBeCloseTo(each, 12);
});

test("as tau falls the gradient of a clear choice vanishes, as tau rises it spreads", () => {
  const slope = (tau: number) => probabilitiesOf(gdas(), [0, 1], gumbelChoice([0, 1], [1, 1], tau), [1, 0]).slope[0];
  expect(Math.abs(slope(0.02))).toBeLessThan(1e-15);
  expect(slope(1000)).toBeCloseTo(0.25 / 1000, 8);
});

test("bad temperatures and alphas that are not finite are refused", () => {
  expect(() => gdas({ tauMin: 0 })).toThrow(LoomweightError);
  expect(() => gdas({ tauMax: 1, tauMin: 2 })).toThrow(/tauMin/);
  expect(() => gumbelChoice([Number.NaN, 0], [1, 1], 1)).toThrow(/not finite/);
});
