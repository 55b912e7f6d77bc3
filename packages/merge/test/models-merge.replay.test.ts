import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import type { Tensor } from "@loomweight/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { mergeModel } from "../src/node/index.ts";
import { numbersOf } from "./support.ts";

interface RecordedMerge {
  readonly method: string;
  readonly models: readonly string[];
  readonly weights: readonly number[];
  /** Sum and Euclidean norm of every merged tensor, where recorded. */
  readonly tensor_sum_and_l2?: Readonly<Record<string, readonly [number, number]>>;
}

const area = fixtureArea("models");
const scratch = mkdtempSync(join(tmpdir(), "loomweight-models-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));
const families =
  area === undefined ? [] : readdirSync(area).filter((name) => existsSync(join(area, name, "expected.json")));

describe.skipIf(area === undefined)("recorded merges of the small trained models", () => {
  for (const family of families) {
    const folder = join(area as string, family);
    const { merges = {} } = readFixtureJson<{ merges?: Record<string, RecordedMerge> }>(join(folder, "expected.json"));
    for (const [name, recorded] of Object.entries(merges)) {
      test(`${family}: ${name}`, async (context) => {
        const { method, models, weights } = recorded;
        const base = `${family}-base`;
        const missing = [...models, base].find((model) => !existsSync(join(folder, model)));
        if (missing !== undefined) context.skip(`${missing} is not in this part of the references`);
        const recipe = {
          models: models.map((model, i) => ({ model, parameters: { weight: weights[i] } })),
          merge_method: method,
          ...(method === "linear" ? {} : { base_model: base }),
          dtype: "float32",
        };
        const out = join(scratch, `${family}-${name}`);
        await mergeModel(recipe, out, { folder });
        const merged = readFixtureTensors(join(out, "model.safetensors"));
        const sources = models.map((model) => readFixtureTensors(join(folder, model, "model.safetensors")));
        compareWithTruth(merged, sources, readFixtureTensors(join(folder, base, "model.safetensors")), recorded);
        compareWithRecorded(merged, folder, name, recorded);
        rmSync(out, { recursive: true });
      });
    }
  }
});

/** Every tensor equals the float64 truth of the README's formula rounded once, bit for bit. */
function compareWithTruth(
  merged: ReadonlyMap<string, Tensor>,
  sources: readonly ReadonlyMap<string, Tensor>[],
  base: ReadonlyMap<string, Tensor>,
  { method, weights }: RecordedMerge,
): void {
  expect([...merged.keys()].sort()).toEqual([...base.keys()].sort());
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  for (const [name, tensor] of merged) {
    const start = numbersOf(base.get(name) as Tensor);
    const columns = sources.map((tensors) => numbersOf(tensors.get(name) as Tensor));
    const truth = Float32Array.from(start, (x, i) => {
      let sum = 0;
      for (let j = 0; j < columns.length; j++)
        sum += weights[j] * (method === "linear" ? columns[j][i] : columns[j][i] - x);
      return method === "linear" ? sum / total : x + sum;
    });
    const found = tensor.data as Float32Array;
    const wrong = truth.findIndex((value, i) => value !== found[i]);
    expect(wrong, `${name}: the first entry that differs`).toBe(-1);
  }
}

/** The recorded tensors within 1e-6, and the recorded sums and norms. */
function compareWithRecorded(
  merged: ReadonlyMap<string, Tensor>,
  folder: string,
  name: string,
  { tensor_sum_and_l2: sums = {} }: RecordedMerge,
): void {
  const files = ["expected_merged.safetensors", "expected.safetensors"].filter((file) =>
    existsSync(join(folder, file)),
  );
  for (const file of files) {
    for (const [key, wanted] of readFixtureTensors(join(folder, file))) {
      const tensor = [`${name}/weights/`, `${name}/`].find((prefix) => key.startsWith(prefix));
      const found = tensor === undefined ? undefined : merged.get(key.slice(tensor.length));
      if (found === undefined) continue;
      const [a, b] = [numbersOf(found), numbersOf(wanted)];
      const wrong = b.findIndex((value, i) => !(Math.abs(a[i] - value) <= 1e-6));
      expect(wrong, `${key}: the first entry that differs by more than 1e-6`).toBe(-1);
    }
  }
  for (const [tensor, [sum, norm]] of Object.entries(sums)) {
    const values = numbersOf(merged.get(tensor) as Tensor);
    const squares = values.reduce((all, value) => all + value * value, 0);
    expect(Math.abs(values.reduce((all, value) => all + value, 0) - sum), tensor).toBeLessThan(
      1e-6 * values.length + 1e-4,
    );
    expect(Math.abs(Math.sqrt(squares) - norm), tensor).toBeLessThan(1e-5 * norm + 1e-6);
  }
}
