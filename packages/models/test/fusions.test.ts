import { join } from "node:path";
import { openModel } from "@loomweight/checkpoint/node";
import { fixturesRoot } from "@loomweight/fixtures";
import { type Device, encodeOnnx } from "@loomweight/graph";
import { expect, test } from "vitest";
import { fusedFor } from "../src/fusions.ts";
import { buildModel, checkDevices, taskNamed } from "../src/index.ts";

test("what is fused follows from what every device has", () => {
  const all = [
    "GroupQueryAttention",
    "MultiHeadAttention",
    "RotaryEmbedding",
    "SkipSimplifiedLayerNormalization",
  ] as const;
  expect([...fusedFor("onnxruntime", ["cpu", "wasm", "webgpu"], "float32")]).toEqual(all);
  expect([...fusedFor("onnxruntime", ["webgpu"], "float16")]).toEqual(all);
  // CUDA's kernel took no score bias for long, without which rows padded on the left are wrong
  expect([...fusedFor("onnxruntime", ["cuda"], "float16")]).toEqual(all.slice(1));
  expect([...fusedFor("onnxruntime", ["cpu", "cuda"], "float32")]).toEqual(all.slice(1));
  // positions are read on CPUs only, and only they multiply by a matrix as it is stored
  expect([...fusedFor("onnxruntime", ["cpu", "wasm"], "float32")]).toEqual([
    "GroupQueryAttention",
    "GroupQueryAttention position_ids",
    "FusedMatMul",
    ...all.slice(1),
  ]);
  expect([...fusedFor("none", ["cpu"], "float32")]).toEqual([]);
});

test("devices are named in any order, once each; unknown ones are refused by name", () => {
  expect(checkDevices(["webgpu", "cpu", "cpu"])).toEqual(["cpu", "webgpu"]);
  expect(() => checkDevices(["gpu"])).toThrow(/"gpu".*webgpu/s);
  expect(() => checkDevices([])).toThrow(/cpu, wasm, webgpu, cuda/);
});

test("tasks with a cache answer to optimum's names, too", () => {
  expect(taskNamed("text-generation-with-past")).toBe("text-generation");
  expect(taskNamed("automatic-speech-recognition-with-past")).toBe("automatic-speech-recognition");
  expect(taskNamed("fill-mask-with-past")).toBeUndefined();
});

const domains = async (devices: readonly Device[] | undefined) => {
  const folder = await openModel(join(fixturesRoot(), "models/scribe/scribe-base"));
  try {
    const { model } = await buildModel(folder, undefined, { devices });
    return { nodes: model.graph.nodes, bytes: await encodeOnnx(model) };
  } finally {
    await folder.close();
  }
};

test("a decoder is built of the operators of its devices, with equal bytes each time", async () => {
  const count = (nodes: readonly { readonly op: string }[], op: string) =>
    nodes.filter((each) => each.op === op).length;
  const usual = await domains(undefined);
  const layers = count(usual.nodes, "GroupQueryAttention");
  expect(layers).toBeGreaterThan(0);
  expect(count(usual.nodes, "RotaryEmbedding")).toBe(2 * layers);
  expect(count(usual.nodes, "SkipSimplifiedLayerNormalization")).toBe(2 * layers); // all norms but the first
  expect(usual.nodes.filter(({ op }) => op === "SimplifiedLayerNormalization")).toEqual([]);
  expect(Buffer.compare((await domains(undefined)).bytes, usual.bytes)).toBe(0);
  const cuda = await domains(["cuda"]);
  expect(count(cuda.nodes, "GroupQueryAttention")).toBe(0);
  expect(count(cuda.nodes, "RotaryEmbedding")).toBe(2 * layers);
  const gpu = await domains(["webgpu"]);
  expect(count(gpu.nodes, "GroupQueryAttention")).toBe(layers);
  expect(count(gpu.nodes, "RotaryEmbedding")).toBe(0); // its rows would have to be counted in int64
});

test("features of a decoder need neither its cache nor its head", async () => {
  const folder = await openModel(join(fixturesRoot(), "models/scribe/scribe-base"));
  const { model } = await buildModel(folder, "feature-extraction");
  await folder.close();
  expect(model.graph.outputs.map(({ name }) => name)).toEqual(["last_hidden_state"]);
  expect(model.graph.nodes.map(({ op }) => op)).not.toContain("GroupQueryAttention");
});
