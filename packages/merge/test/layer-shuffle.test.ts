import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { LoomweightError } from "@loomweight/tensor";
import { afterAll, beforeAll, expect, test } from "vitest";
import { planModel } from "../src/node/index.ts";
import { writeSmallModels } from "./small-models.ts";

const folder = mkdtempSync(join(tmpdir(), "loomweight-shuffle-"));
beforeAll(async () => {
  await writeSmallModels(folder, 2, { layers: 12, width: 4 });
  await writeSmallModels(join(folder, "deep"), 1, { layers: 13, width: 4 });
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const recipe = (shuffle: object, method = "passthrough") => ({
  merge_method: method,
  layer_shuffle: { models: [{ model: "tuned-1", weight: 2 }, { model: "tuned-2" }], ...shuffle },
});

/** Per output layer, the model and layer that it is copied from. */
async function origins(shuffle: object): Promise<[model: string, layer: number][]> {
  const plan = await planModel(recipe(shuffle), { folder });
  expect(plan.config).toMatchObject({ num_hidden_layers: 12 });
  return Array.from({ length: 12 }, (_, layer) => {
    const parts = plan.tensors.filter(({ name }) => name.startsWith(`model.layers.${layer}.`));
    const from = new Set(
      parts.map(({ inputs: [{ model, tensor }] }) => `${plan.models[model]} ${tensor.split(".")[2]}`),
    );
    // All tensors of a layer come from one layer of one model.
    expect(from.size).toBe(1);
    const [model, number] = [...from][0].split(" ");
    return [model, Number(number)];
  });
}

test("every layer comes whole from one model, by seed, in its place", async () => {
  const drawn = await origins({ seed: 3 });
  expect(drawn.map(([, layer]) => layer)).toEqual([...Array(12).keys()]);
  expect(new Set(drawn.map(([model]) => model))).toEqual(new Set(["tuned-1", "tuned-2"]));
  expect(await origins({ seed: 3 })).toEqual(drawn);
  expect(await origins({ seed: 4 })).not.toEqual(drawn);
});

test("without keep_order every layer is there once, in another order", async () => {
  const layers = (await origins({ keep_order: false })).map(([, layer]) => layer);
  expect(layers).not.toEqual([...Array(12).keys()]);
  expect([...layers].sort((a, b) => a - b)).toEqual([...Array(12).keys()]);
});

test("weights are shares: over many seeds a model of weight 2 gives twice as many layers", async () => {
  const all = await Promise.all(Array.from({ length: 40 }, (_, seed) => origins({ seed })));
  const share = all.flat().filter(([model]) => model === "tuned-1").length / 480;
  expect(Math.abs(share - 2 / 3)).toBeLessThan(0.09); // four standard errors
}, 60_000);

test.each<[string, object, RegExp]>([
  ["another method", recipe({}, "linear"), /passthrough/],
  ["no models", recipe({ models: [] }), /at least one/],
  ["a weight of 0", recipe({ models: [{ model: "tuned-1", weight: 0 }] }), /above 0/],
  ["a seed that is text", recipe({ seed: "x" }), /whole number/],
  ["models of unequal depth", recipe({ models: [{ model: "tuned-1" }, { model: "deep/base" }] }), /equal depth/],
  ["models beside it", { ...recipe({}), models: [{ model: "tuned-1" }] }, /exactly one of/],
])("%s is refused", async (_, given, message) => {
  const error = await planModel(given, { folder }).catch((reason) => reason);
  expect(error).toBeInstanceOf(LoomweightError);
  expect(error.message).toMatch(message);
});
