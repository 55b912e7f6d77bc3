import { foldAdapters, type PeftConfig, readAdapter } from "@loomweight/adapters";
import { bytesSource, type Checkpoint, openSafetensors, writeSafetensors } from "@loomweight/checkpoint";
import { createRandom } from "@loomweight/kernels";
import { fromFloat64, normal, type Tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { extractLora } from "./extract-lora.ts";

const random = (name: string, shape: readonly number[], deviation = 1) =>
  normal(shape, createRandom(5, name), { dtype: "float64", deviation });
const checkpoint = (tensors: Readonly<Record<string, Tensor>>, name: string): Promise<Checkpoint> =>
  openSafetensors(bytesSource(writeSafetensors(new Map(Object.entries(tensors))), name));

/** W + a product of a rank, in the layout of the weight. */
function changed(weight: Tensor, rank: number, name: string): Tensor {
  const [rows, columns] = [weight.shape[0], weight.shape.slice(1).reduce((a, b) => a * b, 1)];
  const b = toFloat64(random(`${name}/b`, [rows, rank], 0.1));
  const a = toFloat64(random(`${name}/a`, [rank, columns]));
  const values = toFloat64(weight).slice();
  for (let i = 0; i < rows; i++)
    for (let j = 0; j < columns; j++)
      for (let k = 0; k < rank; k++) values[i * columns + j] += b[i * rank + k] * a[k * columns + j];
  return fromFloat64(values, weight.shape);
}

const shapes = {
  "model.embed_tokens.weight": [20, 8],
  "model.layers.0.q_proj.weight": [8, 8],
  "model.layers.0.up_proj.weight": [12, 8],
  "model.layers.1.up_proj.weight": [12, 8],
  "model.conv.weight": [6, 4, 3, 3],
  "model.norm.weight": [8],
};
const baseTensors = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, random(name, shape)]));

test("an update of low rank comes back: base + extracted LoRA is the tuned model", async () => {
  const tunedTensors: Record<string, Tensor> = {
    ...baseTensors,
    "model.embed_tokens.weight": changed(baseTensors["model.embed_tokens.weight"], 2, "e"),
    "model.layers.0.q_proj.weight": changed(baseTensors["model.layers.0.q_proj.weight"], 3, "q"),
    "model.layers.1.up_proj.weight": changed(baseTensors["model.layers.1.up_proj.weight"], 1, "u"),
    "model.conv.weight": changed(baseTensors["model.conv.weight"], 2, "c"),
    "model.norm.weight": random("norm", [8]),
  };
  const [base, tuned] = [await checkpoint(baseTensors, "base"), await checkpoint(tunedTensors, "tuned")];
  const { files, layers, whole, unchanged } = await extractLora(base, tuned, { rank: 4, energy: 0.9999999 });
  expect(layers.map(({ path, rank }) => [path, rank])).toEqual([
    ["model.conv", 2],
    ["model.embed_tokens", 2],
    ["model.layers.0.q_proj", 3],
    ["model.layers.1.up_proj", 1],
  ]);
  expect(whole).toEqual(["model.norm.weight"]);
  expect(unchanged).toBe(1);
  const adapter = readAdapter(
    JSON.parse(files.config) as PeftConfig,
    await openSafetensors(bytesSource(files.weights, "adapter.safetensors")),
  );
  const folded = foldAdapters({ checkpoint: base, config: {} }, [adapter]).checkpoint;
  for (const name of Object.keys(shapes)) {
    const [ours, theirs] = [toFloat64(await folded.read(name)), toFloat64(tunedTensors[name])];
    const worst = ours.reduce((most, value, i) => Math.max(most, Math.abs(value - theirs[i])), 0);
    expect(worst, name).toBeLessThan(1e-6); // factors are float32
  }
});

test("GPT-2's weights are stored the other way round", async () => {
  const weight = random("h", [8, 24]);
  const base = await checkpoint({ "h.0.attn.c_attn.weight": weight }, "base");
  const tuned = await checkpoint({ "h.0.attn.c_attn.weight": changed(weight, 2, "h") }, "tuned");
  const { files, layers } = await extractLora(base, tuned, { rank: 2, modelType: "gpt2" });
  expect(layers[0].relativeError).toBeLessThan(1e-6);
  const config = JSON.parse(files.config) as PeftConfig;
  expect(config.fan_in_fan_out).toBe(true);
  const adapter = readAdapter(config, await openSafetensors(bytesSource(files.weights, "a.safetensors")));
  expect(adapter.checkpoint.tensors.get("base_model.model.h.0.attn.c_attn.lora_A.weight")?.shape).toEqual([2, 8]);
});

test("a rank too small says what is lost", async () => {
  const name = "model.layers.0.up_proj.weight";
  const base = await checkpoint({ [name]: baseTensors[name] }, "base");
  const tuned = await checkpoint({ [name]: random("other", [12, 8]) }, "tuned");
  const { layers } = await extractLora(base, tuned, { rank: 2 });
  expect(layers[0].relativeError).toBeGreaterThan(0.3);
  expect(layers[0].relativeError).toBeLessThan(1);
});

test("models that do not belong together are refused", async () => {
  const base = await checkpoint({ "a.weight": random("a", [4, 4]) }, "base");
  await expect(extractLora(base, base)).rejects.toThrow(/no matrix differs/);
  const wider = await checkpoint({ "a.weight": random("a", [5, 4]) }, "tuned");
  await expect(extractLora(base, wider)).rejects.toThrow(/a\.weight.*different shapes/s);
  const other = await checkpoint({ "b.weight": random("a", [4, 4]) }, "tuned");
  await expect(extractLora(base, other)).rejects.toThrow(/only one of the models/);
  const broken = await checkpoint({ "a.weight": fromFloat64(new Float64Array(16).fill(Number.NaN), [4, 4]) }, "tuned");
  await expect(extractLora(base, broken)).rejects.toThrow(/not a finite number/);
  await expect(extractLora(base, wider, { rank: 0 })).rejects.toThrow(/rank/);
});
