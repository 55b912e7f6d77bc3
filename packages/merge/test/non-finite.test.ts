import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readFixtureTensors } from "@loomweight/fixtures";
import type { LoomweightError, Tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import { mergeModel } from "../src/node/index.ts";
import { writeSmallModels } from "./small-models.ts";
import { numbersOf } from "./support.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-non-finite-"));
const bad = "model.layers.1.mlp.up_proj.weight";
afterAll(() => rmSync(folder, { recursive: true, force: true }));
beforeAll(async () => {
  await writeSmallModels(folder, 2);
  const file = join(folder, "tuned-2", "model.safetensors");
  const bytes = readFileSync(file);
  const headerBytes = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, 8 + headerBytes).toString());
  bytes.writeUInt16LE(0x7fc0, 8 + headerBytes + header[bad].data_offsets[0] + 2 * 17); // a NaN in bfloat16
  writeFileSync(file, bytes);
});

const models = (parameters: object, ...names: readonly string[]) => names.map((model) => ({ model, parameters }));
const added = {
  merge_method: "task_arithmetic",
  base_model: "base",
  models: models({ weight: 0.5 }, "tuned-1", "tuned-2"),
};
let runs = 0;
const out = () => join(folder, `out-${runs++}`);
const refusal = (recipe: object, options: object = {}): Promise<LoomweightError> =>
  mergeModel(recipe, out(), { folder, ...options }).then(
    () => Promise.reject(new Error("the merge was not refused")),
    (error) => error,
  );

test("a NaN stops the merge with tensor, element and model, whatever the number of workers", async () => {
  for (const workers of [1, 2]) {
    const error = await refusal(added, { workers });
    expect(error.code).toBe("NON_FINITE");
    expect(error.details.tensor).toBe(bad);
    expect(error.message).toMatch(/tuned-2.*element 17.*NaN.*allow non-finite/s);
  }
});

test("allowed, it passes into that one element and into no other", async () => {
  const path = out();
  await mergeModel(added, path, { folder, allowNonFinite: true });
  for (const [name, tensor] of readFixtureTensors(join(path, "model.safetensors"))) {
    const wrong = [...numbersOf(tensor as Tensor)].flatMap((value, at) => (Number.isFinite(value) ? [] : [at]));
    expect([name, wrong]).toEqual([name, name === bad ? [17] : []]);
  }
});

test("of a document the model is named that the document is made from", async () => {
  const recipe = [
    { ...added, name: "first" },
    {
      merge_method: "slerp",
      base_model: "base",
      models: [{ model: "first" }, { model: "base" }],
      parameters: { t: 0.5 },
    },
  ];
  const error = await refusal(recipe);
  expect(error.code).toBe("NON_FINITE");
  expect(error.message).toMatch(/tuned-2.*element 17/s);
});

test("what orders entries by magnitude refuses it even when allowed, and advises what helps", async () => {
  const trimmed = {
    ...added,
    merge_method: "ties",
    models: models({ weight: 0.5, density: 0.5 }, "tuned-1", "tuned-2"),
  };
  for (const allowNonFinite of [false, true]) {
    const error = await refusal(trimmed, { allowNonFinite });
    expect(error.code).toBe("NON_FINITE");
    expect(error.message).toMatch(/tuned-2.*element 17.*repair the model/s);
    expect(error.message).not.toContain("allow non-finite");
  }
});
