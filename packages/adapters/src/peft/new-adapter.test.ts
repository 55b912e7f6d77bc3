import { bytesSource, openSafetensors } from "@loomweight/checkpoint";
import { fromData } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { layerOf } from "../layer.ts";
import { dora } from "../methods/dora.ts";
import { lora } from "../methods/lora.ts";
import { miss } from "../methods/miss.ts";
import type { PeftConfig } from "./format.ts";
import { type NewAdapter, newAdapterFiles } from "./new-adapter.ts";
import { readAdapter } from "./read-adapter.ts";

const filled = (shape: readonly number[], start: number) =>
  fromData(
    "float32",
    Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => start + i),
    shape,
  );

async function readBack(adapter: NewAdapter) {
  const { config, weights } = newAdapterFiles(adapter);
  const parsed = JSON.parse(config) as PeftConfig;
  return { parsed, adapter: readAdapter(parsed, await openSafetensors(bytesSource(weights, "adapter.safetensors"))) };
}

const q = layerOf("linear", [4, 6]);
const conv = layerOf("convolution", [4, 3, 2, 2]);

test("an adapter that was made here is read again, with ranks of single modules", async () => {
  const made: NewAdapter = {
    method: lora,
    options: { rank: 2, alpha: 4 },
    modules: new Map([
      ["layers.0.q", { layer: q, params: { A: filled([2, 6], 0), B: filled([4, 2], 100) } }],
      ["layers.1.q", { layer: q, params: { A: filled([3, 6], 0), B: filled([4, 3], 9) }, options: { rank: 3 } }],
      ["conv", { layer: conv, params: { A: filled([2, 12], 5), B: filled([4, 2], 7) } }],
    ]),
    config: { base_model_name_or_path: "some/base", task_type: "CAUSAL_LM" },
  };
  const { parsed, adapter } = await readBack(made);
  expect(parsed).toMatchObject({
    peft_type: "LORA",
    r: 2,
    lora_alpha: 4,
    rank_pattern: { "layers.1.q": 3 },
    alpha_pattern: {},
    target_modules: ["layers.0.q", "layers.1.q", "conv"],
    task_type: "CAUSAL_LM",
  });
  expect([...adapter.modules.values()].map(({ path, options }) => [path, options.rank, options.alpha])).toEqual([
    ["conv", 2, 4],
    ["layers.0.q", 2, 4],
    ["layers.1.q", 3, 4],
  ]);
  const shapes = [...adapter.checkpoint.tensors.values()].map(({ name, shape }) => [name, shape]);
  expect(shapes).toContainEqual(["base_model.model.conv.lora_A.weight", [2, 3, 2, 2]]);
  expect(shapes).toContainEqual(["base_model.model.conv.lora_B.weight", [4, 2, 1, 1]]);
  const values = await adapter.checkpoint.read("base_model.model.layers.1.q.lora_A.weight");
  expect([...(values.data as Float32Array)]).toEqual(Array.from({ length: 18 }, (_, i) => i));
});

test("options that decide the method itself are written", async () => {
  const { parsed } = await readBack({
    method: dora,
    options: { rank: 1, alpha: 1, rankStabilized: true },
    modules: new Map([
      ["q", { layer: q, params: { A: filled([1, 6], 0), B: filled([4, 1], 1), magnitude: filled([4], 1) } }],
    ]),
  });
  expect(parsed).toMatchObject({ peft_type: "LORA", use_dora: true, use_rslora: true });
  const embedding = layerOf("embedding", [9, 4]);
  const { adapter } = await readBack({
    method: lora,
    options: { rank: 1, alpha: 1 },
    modules: new Map([["wte", { layer: embedding, params: { A: filled([1, 9], 0), B: filled([4, 1], 0) } }]]),
  });
  expect([...adapter.checkpoint.tensors.keys()]).toEqual([
    "base_model.model.wte.lora_embedding_A",
    "base_model.model.wte.lora_embedding_B",
  ]);
});

test("what does not fit is named", () => {
  const one = (params: NewAdapter["modules"] extends ReadonlyMap<string, infer M> ? M : never): NewAdapter => ({
    method: lora,
    options: { rank: 2 },
    modules: new Map([["q", params]]),
  });
  expect(() => newAdapterFiles(one({ layer: q, params: { A: filled([2, 6], 0) } }))).toThrow(/no parameter "B"/);
  expect(() => newAdapterFiles(one({ layer: q, params: { A: filled([2, 5], 0), B: filled([4, 2], 0) } }))).toThrow(
    /lora_A\.weight.*\[2,6\].*\[2,5\]/s,
  );
  expect(() =>
    newAdapterFiles({
      method: miss,
      options: { rank: 2 },
      modules: new Map([["q", { layer: q, params: { block: filled([2, 4], 0) }, options: { rank: 3 } }]]),
    }),
  ).toThrow(/cannot hold another "rank" for one module/);
});
