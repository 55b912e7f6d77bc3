import { existsSync } from "node:fs";
import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { kMeans } from "@loomweight/linalg";
import { fromFloat64, type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { type LoraLegoOptions, loraLego } from "../../src/index.ts";

interface Case {
  readonly name: string;
  /** Of a merge. */
  readonly set?: string;
  readonly options: Omit<LoraLegoOptions, "rank"> & { readonly rank: number | "all" };
  readonly adapters: readonly { readonly r: number; readonly scale: number }[];
  readonly modules: Readonly<Record<string, { rank: number; sizes: number[]; inertia: number; outputFactor: number }>>;
  /** Of k-means from given centroids. */
  readonly points: string;
  readonly k: number;
  readonly inertia: readonly number[];
  readonly finalInertia: number;
}

function expectNear(found: ArrayLike<number>, expected: ArrayLike<number>, within: number, what: string): void {
  expect(found.length, what).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) {
    expect(Math.abs(found[i] - expected[i]), `${what}[${i}]`).toBeLessThanOrEqual(within);
  }
}

/** As a matrix: convolutions flattened. */
function matrixOf(tensor: Tensor): Tensor {
  const [rows, ...rest] = tensor.shape;
  return fromFloat64(toFloat64(tensor), [rows, rest.reduce((product, size) => product * size, 1)]);
}

function product(b: Tensor, a: Tensor): Float64Array {
  const [rank, columns] = a.shape;
  const [x, y] = [toFloat64(b), toFloat64(a)];
  const out = new Float64Array(b.shape[0] * columns);
  for (let i = 0; i < out.length; i++) {
    const [row, column] = [Math.floor(i / columns), i % columns];
    for (let k = 0; k < rank; k++) out[i] += x[row * rank + k] * y[k * columns + column];
  }
  return out;
}

/** Groups of units, whatever their numbers. */
function partition(labels: ArrayLike<number>): string[] {
  const groups = new Map<number, number[]>();
  for (let i = 0; i < labels.length; i++) groups.set(labels[i], [...(groups.get(labels[i]) ?? []), i]);
  return [...groups.values()].map(String).sort();
}

describe("LoRA-LEGO, recorded", () => {
  const folder = fixtureArea("methods/18-lora-lego");
  if (folder === undefined || !existsSync(folder)) {
    test("recorded cases", (context) => context.skip("the fixtures do not hold this method"));
    return;
  }
  const { cases } = readFixtureJson<{ cases: Case[] }>(join(folder, "cases.json"));
  const tensors = readFixtureTensors(join(folder, "cases.safetensors"));
  const get = (key: string): Tensor => {
    const found = tensors.get(key);
    if (found === undefined) throw new Error(`no tensor ${key}`);
    return found;
  };
  for (const each of cases) {
    if (each.set === undefined) {
      test(`k-means from given centroids: ${each.name}`, () => {
        const points = get(each.points);
        const from = { clusters: each.k, start: get(`${each.name}/init`), tolerance: 0 };
        const labels = get(`${each.name}/labels`);
        const [rounds, count] = labels.shape;
        for (let round = 1; round < rounds; round++) {
          const found = kMeans(points, { ...from, iterations: round });
          expect(partition(found.labels)).toEqual(
            partition(toFloat64(labels).slice(round * count, (round + 1) * count)),
          );
          expectNear([found.inertia], [each.inertia[round]], 1e-10 * each.inertia[0], "inertia");
        }
        const end = kMeans(points, { ...from, iterations: 300 });
        expectNear([end.inertia], [each.finalInertia], 1e-10 * each.finalInertia, "final inertia");
        expectNear(toFloat64(end.centroids), toFloat64(get(`${each.name}/centroids`)), 1e-10, "centroids");
      });
      continue;
    }
    test.each(Object.entries(each.modules))(`${each.name}, %s`, (module, recorded) => {
      const updates = each.adapters.map(({ scale }, i) => ({
        a: matrixOf(get(`set/${each.set}/a${i}/${module}/A`)),
        b: matrixOf(get(`set/${each.set}/a${i}/${module}/B`)),
        scaling: scale,
      }));
      const units = updates.reduce((sum, { a }) => sum + a.shape[0], 0);
      const rank = each.options.rank === "all" ? units : each.options.rank;
      const found = loraLego(updates, { ...each.options, rank, restarts: 200 });
      expect(found.inertia).toBeLessThanOrEqual(recorded.inertia * (1 + 1e-9) + 1e-20);
      expect(partition(found.labels)).toEqual(partition(toFloat64(get(`${each.name}/${module}/labels`))));
      expectNear(product(found.b, found.a), toFloat64(get(`${each.name}/${module}/delta`)), 1e-9, "delta");
      const labels = [...toFloat64(get(`${each.name}/${module}/labels`))];
      const factors = toFloat64(get(`${each.name}/${module}/factors`));
      for (const [i, label] of found.labels.entries()) {
        expectNear([found.factors[label]], [factors[labels[i]]], 1e-9, "factor");
      }
    });
  }
});
