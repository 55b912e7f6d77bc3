import { mkdir, mkdtemp, readdir, rename, rm, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSafetensors } from "@loomweight/checkpoint";
import { openOnnxFile, openSession } from "@loomweight/graph/node";
import { cast, type DType, fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { exportFolder, exportInPlace, verifyExport } from "../src/node/index.ts";

let root = "";
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "loomweight-in-place-"));
});
afterEach(async () => {
  await rm(root, { recursive: true, force: true });
});

const config = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  vocab_size: 80,
  tie_word_embeddings: true,
};

const shapes = {
  "model.embed_tokens.weight": [80, 64],
  "model.layers.0.input_layernorm.weight": [64],
  "model.layers.0.self_attn.q_proj.weight": [64, 64],
  "model.layers.0.self_attn.k_proj.weight": [32, 64],
  "model.layers.0.self_attn.v_proj.weight": [32, 64],
  "model.layers.0.self_attn.o_proj.weight": [64, 64],
  "model.layers.0.post_attention_layernorm.weight": [64],
  "model.layers.0.mlp.gate_proj.weight": [128, 64],
  "model.layers.0.mlp.up_proj.weight": [128, 64],
  "model.layers.0.mlp.down_proj.weight": [64, 128],
  "model.norm.weight": [64],
};

/** A small Llama's folder, with weights of `dtype` in one file or two. */
async function tinyLlama(name: string, dtype: DType, shards: 1 | 2 = 1): Promise<string> {
  const path = join(root, name);
  await mkdir(path);
  let seed = 1;
  const tensors = Object.entries(shapes).map(([tensor, shape]): [string, Tensor] => {
    const data = Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      return shape.length === 1 ? 1 : (seed / 2 ** 32 - 0.5) / 2;
    });
    return [tensor, cast(fromData("float32", data, shape), dtype)];
  });
  await writeFile(join(path, "config.json"), JSON.stringify(config));
  if (shards === 1) {
    await writeFile(join(path, "model.safetensors"), writeSafetensors(new Map(tensors)));
    return path;
  }
  const files = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  await writeFile(join(path, files[0]), writeSafetensors(new Map(tensors.slice(0, 5))));
  await writeFile(join(path, files[1]), writeSafetensors(new Map(tensors.slice(5))));
  const map = Object.fromEntries(tensors.map(([tensor], i) => [tensor, files[i < 5 ? 0 : 1]]));
  await writeFile(join(path, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map: map }));
  return path;
}

/** Logits of a few tokens. */
async function logitsOf(file: string): Promise<Float32Array> {
  const session = await openSession(file, { threads: 1 });
  try {
    const ids = BigInt64Array.of(3n, 17n, 4n, 79n);
    const row = (data: BigInt64Array) => fromData("int64", data, [1, 4]);
    const empty = () => fromData("float32", new Float32Array(0), [1, 2, 0, 16]);
    const { logits } = await session.run({
      input_ids: row(ids),
      attention_mask: row(new BigInt64Array(4).fill(1n)),
      position_ids: row(BigInt64Array.of(0n, 1n, 2n, 3n)),
      "past_key_values.0.key": empty(),
      "past_key_values.0.value": empty(),
    });
    return logits.data as Float32Array;
  } finally {
    await session.close();
  }
}

describe.each([
  ["float32", 1],
  ["float16", 1],
  ["bfloat16", 1],
  ["bfloat16", 2],
] as const)("%s in %d files", (dtype, shards) => {
  test("the graph beside the weights gives the exported model's logits, bit for bit, and copies nothing", async () => {
    const model = await tinyLlama("model", dtype, shards);
    const { files } = await exportInPlace(model);
    await exportFolder(model, join(root, "web"), { dtypes: ["fp32"] });
    const placed = await logitsOf(join(model, "model.onnx"));
    expect(placed).toEqual(await logitsOf(join(root, "web", "onnx", "model.onnx")));
    expect(placed.some((logit) => Math.abs(logit) > 0.1)).toBe(true);
    expect(files[0].external).toHaveLength(shards);
    expect(files[0].verification.ran).toBe(true);
    // k and v, norms: what is small lies in the model file
    expect((await stat(join(model, "model.onnx"))).size).toBeLessThan(60_000);
    expect(await readdir(model)).toHaveLength(shards === 1 ? 3 : 5);
    const { model: read, close } = await openOnnxFile(join(model, "model.onnx"));
    const stored = [...read.graph.initializers.values()].filter(({ name }) => name.endsWith("_stored"));
    expect(new Set(stored.map((each) => each.dtype))).toEqual(new Set([dtype]));
    expect((await stored[0].data.read()).shape).toEqual(stored[0].shape);
    await close();
  });
});

test("verify compares it with the model", async () => {
  const model = await tinyLlama("model", "bfloat16");
  await exportInPlace(model);
  const { good, files, findings } = await verifyExport(model, { against: model });
  expect({ good, findings: findings.filter(({ level }) => level === "error") }).toEqual({ good: true, findings: [] });
  expect(files[0].outputs.every(({ maxDifference }) => maxDifference < 1e-4)).toBe(true);
});

test("devices choose the operators, and num_logits_to_keep is an input where it is asked for", async () => {
  const model = await tinyLlama("model", "float32");
  const file = join(model, "model.onnx");
  const graph = async () => {
    const { model: read, close } = await openOnnxFile(file);
    await close();
    return { ops: new Set(read.graph.nodes.map(({ op }) => op)), inputs: read.graph.inputs.map(({ name }) => name) };
  };
  await exportInPlace(model, { verify: false });
  expect((await graph()).ops).toContain("GroupQueryAttention");
  // CUDA's kernel takes no score bias
  const { files } = await exportInPlace(model, { devices: ["cuda"], logitsToKeep: true, force: true });
  const { ops, inputs } = await graph();
  expect(ops).not.toContain("GroupQueryAttention");
  expect(inputs).toContain("num_logits_to_keep");
  expect(files[0].verification.ran).toBe(true);
  const { good, findings } = await verifyExport(model, { against: model, text: [3, 17, 4, 79, 5, 6] });
  expect({ good, findings: findings.filter(({ level }) => level === "error") }).toEqual({ good: true, findings: [] });
});

test("an existing model file, a quantized dtype and weights elsewhere are refused; nothing is left behind", async () => {
  const model = await tinyLlama("model", "float32");
  const code = (run: Promise<unknown>) =>
    run.then(
      () => "none",
      (error: unknown) => (error instanceof LoomweightError ? error.code : String(error)),
    );
  expect(await code(exportInPlace(model, { dtype: "q4" as "fp32" }))).toBe("INVALID_OPTION");
  await exportInPlace(model, { verify: false });
  expect(await code(exportInPlace(model, { verify: false }))).toBe("OUTPUT_EXISTS");
  expect(await code(exportInPlace(model, { verify: false, force: true }))).toBe("none");
});

test("weights behind links, as the hub's cache keeps them, are refused: onnxruntime does not follow links out of the folder", async () => {
  const cache = join(root, "models--some--model");
  const model = join(cache, "snapshots", "0123456789abcdef");
  await mkdir(join(cache, "snapshots"), { recursive: true });
  await mkdir(join(cache, "blobs"));
  await rename(await tinyLlama("plain", "bfloat16"), model);
  await rename(join(model, "model.safetensors"), join(cache, "blobs", "abc"));
  await symlink(join("..", "..", "blobs", "abc"), join(model, "model.safetensors"));
  await expect(exportInPlace(model)).rejects.toThrow("links");
  expect(await readdir(model)).not.toContain("model.onnx");
});
