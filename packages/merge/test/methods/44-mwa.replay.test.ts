import { existsSync } from "node:fs";
import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { cast, type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { averageAdapters, lowRankSum, type MetricWeightOptions, metricWeights } from "../../src/index.ts";

interface Case {
  readonly name: string;
  readonly metric: "loss" | "step" | "score";
  readonly values: readonly number[];
  readonly checkpoints?: readonly number[];
  readonly space?: "factors" | "delta";
  readonly options: { p?: number; higher?: boolean; form?: MetricWeightOptions["form"]; rho?: number; floor?: number };
  readonly weights: readonly number[];
}

function optionsOf({ metric, options }: Case): MetricWeightOptions {
  const { p, higher, form, rho, floor } = options;
  return {
    metric: metric === "score" ? { higherIsBetter: higher === true } : metric,
    penalty: p,
    form,
    rho,
    floor,
  };
}

function expectNear(found: ArrayLike<number>, expected: ArrayLike<number>, relative: number): void {
  expect(found.length).toBe(expected.length);
  const scale = Math.max(...Array.from(expected, Math.abs));
  for (let i = 0; i < expected.length; i++) {
    expect(Math.abs(found[i] - expected[i]), `[${i}]`).toBeLessThanOrEqual(relative * scale);
  }
}

/** scaling · B A, row-major. */
function product(b: Tensor, a: Tensor, scaling: number): Float64Array {
  const [rows, rank] = b.shape;
  const columns = a.shape[1];
  const [x, y] = [toFloat64(b), toFloat64(a)];
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    for (let k = 0; k < rank; k++)
      for (let j = 0; j < columns; j++) out[i * columns + j] += scaling * x[i * rank + k] * y[k * columns + j];
  }
  return out;
}

describe("metrics-weighted averaging, recorded", () => {
  const folder = fixtureArea("methods/44-mwa");
  if (folder === undefined || !existsSync(folder)) {
    test("recorded cases", (context) => context.skip("the fixtures do not hold this method"));
    return;
  }
  const { cases, scale, modules } = readFixtureJson<{
    cases: Case[];
    scale: number;
    modules: Record<string, { out: number; in: number; r: number }>;
  }>(join(folder, "cases.json"));
  const tensors = readFixtureTensors(join(folder, "cases.safetensors"));
  const get = (key: string): Tensor => {
    const found = tensors.get(key);
    if (found === undefined) throw new Error(`no tensor ${key}`);
    return found;
  };
  const checkpoint = (index: number) => {
    const prefix = `checkpoint/${index}/`;
    return new Map(
      [...tensors].filter(([key]) => key.startsWith(prefix)).map(([key, t]) => [key.slice(prefix.length), t]),
    );
  };
  for (const each of cases) {
    test(each.name, async () => {
      const weights = metricWeights(each.values, optionsOf(each));
      expectNear(weights, each.weights, 1e-12);
      if (each.name === "half") {
        const adapters = each.values.map((_, index) => new Map([["A", get(`half/${index}`)]]));
        const average = (await averageAdapters(adapters, weights)).get("A") as Tensor;
        expect(average.dtype).toBe("float16");
        expect(average.data).toEqual(cast(get("half/average"), "float16").data);
        return;
      }
      const adapters = (each.checkpoints ?? []).map(checkpoint);
      if (each.space === "delta") {
        for (const module of Object.keys(modules)) {
          const updates = adapters.map((adapter) => ({
            a: adapter.get(`${module}/A`) as Tensor,
            b: adapter.get(`${module}/B`) as Tensor,
            scaling: scale,
          }));
          const sum = lowRankSum(updates, weights);
          expectNear(product(sum.b, sum.a, sum.scaling), toFloat64(get(`${each.name}/${module}/delta`)), 1e-11);
        }
        return;
      }
      const average = await averageAdapters(adapters, weights);
      for (const [name, tensor] of average)
        expectNear(toFloat64(tensor), toFloat64(get(`${each.name}/${name}`)), 1e-11);
      for (const module of Object.keys(modules)) {
        const [b, a] = [average.get(`${module}/B`) as Tensor, average.get(`${module}/A`) as Tensor];
        expectNear(product(b, a, scale), toFloat64(get(`${each.name}/${module}/delta`)), 1e-11);
      }
    });
  }
});
