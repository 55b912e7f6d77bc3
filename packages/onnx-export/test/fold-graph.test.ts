import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Adapter, openAdapter } from "@loomweight/adapters";
import { fileSetFromMap } from "@loomweight/checkpoint";
import { encodeOnnx, type OnnxModel } from "@loomweight/graph";
import { quantizeDynamic, quantizeModelBnb4, quantizeWeightOnly } from "@loomweight/quant";
import { contiguousData, type Tensor } from "@loomweight/tensor";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { foldGraph, planExport } from "../src/index.ts";
import { foldOnnxFile } from "../src/node/index.ts";
import {
  adapterFiles,
  foldedFolder,
  logitsOf,
  relativeDifference,
  smallAdapter,
  smallLlama,
  withGraph,
} from "./slots-small.ts";

/** The float graph of the small model, with adapters folded in before it is exported or without. */
async function floatGraph(adapters: readonly Adapter[] = []): Promise<OnnxModel> {
  const plan = await planExport(foldedFolder(await smallLlama(), adapters), { dtypes: ["fp32"] });
  return plan.graphs[0].model;
}

const logits = async (model: OnnxModel) => withGraph(await encodeOnnx(model), (session) => logitsOf(session));

const forms: Readonly<Record<string, (model: OnnxModel) => OnnxModel>> = {
  float32: (model) => model,
  "4 bits in blocks": (model) => quantizeWeightOnly(model, { blockSize: 32 }),
  "4 bits with zero points, tables too": (model) =>
    quantizeWeightOnly(model, { symmetric: false, blockSize: 16, embeddings: true }),
  "8 bits in blocks": (model) => quantizeWeightOnly(model, { bits: 8, blockSize: 32 }),
  "4 bits behind DequantizeLinear": (model) => quantizeWeightOnly(model, { format: "qdq", blockSize: 16 }),
  "int8 a channel": (model) => quantizeDynamic(model, { perChannel: true }),
  uint8: (model) => quantizeDynamic(model, { weightType: "uint8" }),
  nf4: (model) => quantizeModelBnb4(model, { quantType: "nf4", blockSize: 32 }),
};

describe("an adapter is folded into a graph's weights, however they are stored", () => {
  for (const [name, quantize] of Object.entries(forms)) {
    test(name, async () => {
      const adapter = await smallAdapter("one");
      const stored = quantize(await floatGraph());
      const folded = await foldGraph(stored, [adapter]);
      expect(folded.weights.length).toBeGreaterThan(0);
      expect(folded.total.kept).toBeGreaterThan(name === "float32" ? 0.999_999 : 0.9);
      expect(folded.total.kept).toBeLessThan(1.1);
      const bits = name.startsWith("4") || name === "nf4" ? 4 : 8;
      expect(folded.total.noise).toBeLessThan(name === "float32" ? 1e-6 : bits === 4 ? 0.6 : 0.06);
      // What the codes hold computes what the float model with the adapter computes, up to their rounding.
      const [ours, wanted, before] = [
        await logits(folded.model),
        await logits(await floatGraph([adapter])),
        await logits(stored),
      ];
      const change = relativeDifference(before, wanted);
      expect(change).toBeGreaterThan(0.1);
      expect(relativeDifference(ours, wanted)).toBeLessThan(
        name === "float32" ? 1e-5 : bits === 4 ? 0.5 * change : 0.1,
      );
      const changed = new Set(folded.weights.map(({ initializer }) => initializer));
      expect(changed.has("model.norm.weight")).toBe(false);
      let kept = 0;
      for (const [key, { data }] of stored.graph.initializers) {
        const after = folded.model.graph.initializers.get(key);
        if (after?.data === data) kept++;
      }
      expect(kept).toBeGreaterThan(0); // what no adapter touches is the very same
    }, 30_000);
  }

  test("weights that lie on the grid of their codes: what comes out is the quantized folded model, byte for byte", async () => {
    const adapter = await smallAdapter("one");
    const quantize = forms["4 bits in blocks"];
    const folded = (await foldGraph(quantize(await floatGraph()), [adapter])).model;
    const wanted = quantize(await floatGraph([adapter]));
    let compared = 0;
    for (const [name, initializer] of wanted.graph.initializers) {
      const own = await folded.graph.initializers.get(name)?.data.read();
      const other = await initializer.data.read();
      expect(own?.shape, name).toEqual(other.shape);
      expect(Buffer.compare(bytesOf(own), bytesOf(other)), name).toBe(0);
      compared++;
    }
    expect(compared).toBeGreaterThan(10);
  });

  test("DoRA and several adapters in order", async () => {
    const adapters = [await smallAdapter("one", { dora: true }), await smallAdapter("two", { targets: ["up_proj"] })];
    const folded = await foldGraph(await floatGraph(), adapters);
    const wanted = await logits(await floatGraph(adapters));
    expect(relativeDifference(await logits(folded.model), wanted)).toBeLessThan(1e-5);
  });
});

function bytesOf(tensor: Tensor | undefined): Uint8Array {
  const data = tensor === undefined ? new Uint8Array() : (contiguousData(tensor) as Uint8Array);
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

describe("how much of the adapter the codes keep", () => {
  /** The small adapter with its factor B times `scale`. */
  const scaledAdapter = (scale: number) =>
    openAdapter(fileSetFromMap(adapterFiles("one", { config: { lora_alpha: 8 * scale } }), "weak"));

  test("is measured; one too weak for the steps of the codes is refused unless the loss is allowed", async () => {
    const stored = quantizeWeightOnly(await floatGraph(), { blockSize: 32 });
    const weak = await scaledAdapter(0.01);
    const error = await foldGraph(stored, [weak], { file: "model_q4.onnx" }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: "ADAPTER_LOST",
      message: expect.stringMatching(/model_q4\.onnx.*at least 50\.0 %.*--allow-loss/),
    });
    const allowed = await foldGraph(stored, [weak], { allowLoss: true });
    expect(allowed.total.kept).toBeLessThan(0.5);
    const stricter = foldGraph(stored, [await scaledAdapter(1)], { minimalKept: 1.5 });
    await expect(stricter).rejects.toMatchObject({ code: "ADAPTER_LOST" });
    // The same adapter in 8 bits is all there.
    const fine = await foldGraph(quantizeWeightOnly(await floatGraph(), { bits: 8, blockSize: 32 }), [weak], {
      allowLoss: true,
    });
    expect(fine.total.noise).toBeLessThan(allowed.total.noise);
  });

  test("adapters of another model and whole tensors are refused by name", async () => {
    const other = await smallAdapter("other", { shapes: { "model.layers.0.mlp.fc": [64, 32] }, targets: ["fc"] });
    await expect(foldGraph(await floatGraph(), [other])).rejects.toMatchObject({ code: "UNKNOWN_TENSOR" });
    const wide = await smallAdapter("wide", {
      shapes: { "model.layers.0.mlp.up_proj": [96, 32] },
      targets: ["up_proj"],
    });
    await expect(foldGraph(await floatGraph(), [wide])).rejects.toMatchObject({ code: "SHAPE_MISMATCH" });
  });
});

describe("files", () => {
  let folder = "";
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "loomweight-fold-onnx-"));
    mkdirSync(join(folder, "adapter"));
    for (const [name, bytes] of adapterFiles("one")) writeFileSync(join(folder, "adapter", name), bytes);
    const stored = quantizeWeightOnly(await floatGraph(), { blockSize: 32 });
    writeFileSync(join(folder, "model_q4.onnx"), await encodeOnnx(stored));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test("one file becomes another, which is not there when the adapter would be lost", async () => {
    const [input, adapter, output] = ["model_q4.onnx", "adapter", "folded.onnx"].map((name) => join(folder, name));
    const lost = foldOnnxFile(input, [adapter], output, { minimalKept: 1.5 });
    await expect(lost).rejects.toMatchObject({ code: "ADAPTER_LOST" });
    expect(readdirSync(folder).sort()).toEqual(["adapter", "model_q4.onnx"]);
    const written = await foldOnnxFile(input, [adapter], output);
    expect(written.total.kept).toBeGreaterThan(0.9);
    expect(written.weights.every(({ form }) => form === "4 bits in blocks of 32")).toBe(true);
    await expect(foldOnnxFile(input, [adapter], output)).rejects.toMatchObject({ code: "OUTPUT_EXISTS" });
    await expect(foldOnnxFile(input, [adapter], input, { force: true })).rejects.toMatchObject({ code: "SAME_FILE" });
    const file = join(folder, "adapter", "adapter_model.safetensors");
    await expect(foldOnnxFile(input, [file], join(folder, "other.onnx"))).rejects.toMatchObject({
      code: "UNSUPPORTED_ADAPTER",
      message: expect.stringContaining("loomweight convert"),
    });
    await expect(foldOnnxFile(input, [adapter], join(folder, "out"))).rejects.toMatchObject({ code: "INVALID_OPTION" });
  });
});
