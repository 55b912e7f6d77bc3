import { evaluateTrace, gradient, input } from "@loomweight/graph";
import { createRandom, fromFloat64, LoomweightError, type OptionSpecs, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import type { Draw, Sampler, SamplerMethod } from "../src/index.ts";

export type SamplerLaw = "the mean over draws is what the sampler says" | "its gradient reaches alpha";

const vector = (values: readonly number[]) => fromFloat64(Float64Array.from(values), [values.length], "float64");

/** p and dp·weights/dalpha of one draw, in float64. */
export function probabilitiesOf(
  sampler: Sampler,
  alpha: readonly number[],
  { inputs }: Draw,
  weights: readonly number[] = alpha.map((_, i) => i + 1),
): { p: number[]; slope: number[] } {
  const a = input("alpha", "float64", [alpha.length]);
  const fed = Object.fromEntries(sampler.inputs.map((name) => [name, input(name, "float64", [alpha.length])]));
  const p = sampler.probabilities(a, fed);
  const feeds = Object.fromEntries(Object.entries(inputs).map(([name, values]) => [name, vector(values)]));
  const slope = gradient(p, a, { upstream: vector(weights) });
  const found = evaluateTrace({ p, slope }, { alpha: vector(alpha), ...feeds });
  return { p: [...toFloat64(found.p)], slope: [...toFloat64(found.slope)] };
}

const alphas = [
  [0, 0, 0],
  [0.5, -1, 0.2, 0.1],
  [2, -3],
  [-0.4, 1.5, 0.3, 0.2, 1.4],
] as const;
const progress = { epoch: 1, epochs: 3 };

/** What holds for every sampler. A law that does not apply is skipped with its reason. */
export function samplerContract<S extends OptionSpecs>(
  method: SamplerMethod<S>,
  skipped: Partial<Record<SamplerLaw, string>> = {},
  options: Parameters<SamplerMethod<S>>[0] = {},
): void {
  const make = () => method(options);
  const law = (name: SamplerLaw, body: () => void) => {
    const reason = skipped[name];
    test(`${method.name}: ${name}`, reason === undefined ? body : (context) => context.skip(reason));
  };
  const draws = (sampler: Sampler, alpha: readonly number[], count: number) =>
    Array.from({ length: count }, (_, i) => sampler.draw(alpha, createRandom(i, "draw"), progress));

  test(`${method.name}: probabilities are at least 0 and sum to 1`, () => {
    for (const alpha of alphas) {
      for (const draw of draws(make(), alpha, 5)) {
        const { p } = probabilitiesOf(make(), alpha, draw);
        for (const each of p) expect(each).toBeGreaterThanOrEqual(0);
        expect(p.reduce((sum, each) => sum + each, 0)).toBeCloseTo(1, 12);
      }
    }
  });

  test(`${method.name}: a hard sampler takes exactly one choice, a soft one says none`, () => {
    const sampler = make();
    for (const alpha of alphas) {
      for (const draw of draws(sampler, alpha, 5)) {
        if (!sampler.hard) expect(draw.index).toBeUndefined();
        else {
          const { p } = probabilitiesOf(sampler, alpha, draw);
          expect(p).toEqual(alpha.map((_, i) => (i === draw.index ? 1 : 0)));
        }
      }
    }
  });

  test(`${method.name}: feeds what it names, and the same for the same seed`, () => {
    const sampler = make();
    for (const alpha of alphas) {
      const [first, again] = [0, 0].map(() => sampler.draw(alpha, createRandom(7, "draw"), progress));
      expect(Object.keys(first.inputs).sort()).toEqual([...sampler.inputs].sort());
      expect(again).toEqual(first);
      for (const values of Object.values(first.inputs)) expect(values).toHaveLength(alpha.length);
    }
  });

  law("the mean over draws is what the sampler says", () => {
    const sampler = make();
    const alpha = alphas[1];
    const count = 3000;
    const fixed = sampler.inputs.length === 0 ? probabilitiesOf(sampler, alpha, { inputs: {} }).p : [];
    const sums = alpha.map(() => 0);
    for (const draw of draws(sampler, alpha, count)) {
      const p = sampler.hard
        ? alpha.map((_, i) => Number(i === draw.index))
        : sampler.inputs.length === 0
          ? fixed
          : draw.inputs.sample;
      for (const [i, each] of p.entries()) sums[i] += each / count;
    }
    // Five standard errors of a share drawn 3,000 times.
    for (const [i, each] of sampler.mean(alpha).entries()) expect(Math.abs(sums[i] - each)).toBeLessThan(0.046);
  });

  test(`${method.name}: equal alphas are equally likely`, () => {
    for (const each of make().mean([0.3, 0.3, 0.3])) expect(each).toBeCloseTo(1 / 3, 12);
  });

  law("its gradient reaches alpha", () => {
    const sampler = make();
    const [draw] = draws(sampler, alphas[1], 1);
    const { slope } = probabilitiesOf(sampler, alphas[1], draw);
    expect(slope.every(Number.isFinite)).toBe(true);
    expect(slope.some((each) => Math.abs(each) > 1e-6)).toBe(true);
  });

  test(`${method.name}: unknown options are refused by name`, () => {
    expect(() => method({ temperature: 1 } as never)).toThrow(LoomweightError);
  });
}
