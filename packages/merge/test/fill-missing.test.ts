import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { saveSafetensors } from "@loomweight/checkpoint/node";
import { readFixtureTensors } from "@loomweight/fixtures";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mergeModel, planModel } from "../src/node/index.ts";
import { writeSmallModels } from "./small-models.ts";
import { expectSame } from "./support.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-fill-"));
const gap = "model.layers.1.mlp.up_proj.weight";
const weightsOf = (name: string) => readFixtureTensors(join(folder, name, "model.safetensors"));

beforeAll(async () => {
  await writeSmallModels(folder, 2);
  const tensors = weightsOf("tuned-1");
  tensors.delete(gap);
  await saveSafetensors(join(folder, "tuned-1", "model.safetensors"), tensors, { force: true });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const recipe = (extra: object) => ({
  merge_method: "passthrough",
  models: [{ model: "tuned-1" }],
  ...extra,
});
const linear = {
  merge_method: "task_arithmetic",
  base_model: "base",
  models: [
    { model: "tuned-1", parameters: { weight: 1 } },
    { model: "tuned-2", parameters: { weight: 0 } },
  ],
};

test("a tensor that a model lacks is an error, unless the base is to fill it", async () => {
  const error = await planModel(linear, { folder }).catch((reason) => reason);
  expect(error).toBeInstanceOf(LoomweightError);
  expect(error.code).toBe("MISSING_TENSOR");
  const report = await mergeModel({ ...linear, fill_missing: true }, join(folder, "out"), { folder });
  expect(report.warnings.join()).toMatch(`${gap}: tuned-1 lacks it, the base's is taken`);
  const [merged, base, tuned] = ["out", "base", "tuned-1"].map(weightsOf);
  expect([...merged.keys()].sort()).toEqual([...base.keys()].sort());
  expectSame(merged.get(gap) as Tensor, base.get(gap) as Tensor);
  for (const [name, tensor] of tuned) expectSame(merged.get(name) as Tensor, tensor);
});

test("filling needs a base and a switch", async () => {
  await expect(planModel(recipe({ fill_missing: true }), { folder })).rejects.toThrow(/base_model/);
  await expect(planModel({ ...linear, fill_missing: "yes" }, { folder })).rejects.toThrow(/true or false/);
});
