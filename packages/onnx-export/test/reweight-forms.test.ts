import { existsSync } from "node:fs";
import { join } from "node:path";
import { bytesSource, type Checkpoint, openSafetensors, writeSafetensors } from "@loomweight/checkpoint";
import { openCheckpoint } from "@loomweight/checkpoint/node";
import { fixtureArea } from "@loomweight/fixtures";
import { encodeOnnx, initializer, int, type OnnxModel, type OnnxNode, onnxNode } from "@loomweight/graph";
import { openOnnxFile, openSession } from "@loomweight/graph/node";
import { quantizeBlocks, quantizeDynamic, quantizeModelBnb4, quantizeWeightOnly } from "@loomweight/quant";
import { fromData, reshape, type Tensor, transpose } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { reweightModel } from "../src/index.ts";
import { exportFolder, reweightFolder } from "../src/node/index.ts";
import { constantReason } from "../src/reweight/constants.ts";
import { agreement, packedPaths, pathOfName, pathOfNode } from "../src/reweight/names.ts";
import { maxDifference } from "./exported.ts";
import { otherModel, torchExport, withFolder } from "./reweighted.ts";

const area = fixtureArea("architectures") ?? "";

const forms: Readonly<Record<string, (model: OnnxModel) => OnnxModel>> = {
  "4 bits with zero points, tables too": (model) =>
    quantizeWeightOnly(model, { symmetric: false, blockSize: 16, embeddings: true }),
  "4 bits, tables too": (model) => quantizeWeightOnly(model, { blockSize: 32, embeddings: true }),
  "8 bits in blocks": (model) => quantizeWeightOnly(model, { bits: 8, blockSize: 64 }),
  "2 bits in blocks": (model) => quantizeWeightOnly(model, { bits: 2, blockSize: 16 }),
  "4 bits behind DequantizeLinear": (model) => quantizeWeightOnly(model, { format: "qdq", blockSize: 16 }),
  "4 bits behind DequantizeLinear with zero points": (model) =>
    quantizeWeightOnly(model, { format: "qdq", blockSize: 16, symmetric: false }),
  "4 bits a channel": (model) => quantizeWeightOnly(model, { format: "qdq", channelWise: true }),
  "int8 a channel": (model) => quantizeDynamic(model, { perChannel: true }),
  "int8 of 7 bits": (model) => quantizeDynamic(model, { reduceRange: true }),
  "uint8, symmetric": (model) => quantizeDynamic(model, { weightType: "uint8", weightSymmetric: true }),
  fp4: (model) => quantizeModelBnb4(model, { quantType: "fp4", blockSize: 32 }),
};

describe.skipIf(area === "")("every form of storage is written as its quantizer writes it", () => {
  for (const [name, quantize] of Object.entries(forms)) {
    for (const withBase of [true, false]) {
      test(`${name}, ${withBase ? "by values" : "by names"}`, async () => {
        await withFolder(async (root) => {
          const folder = await otherModel(join(area, "llama"), join(root, "new"));
          const [base, fresh] = [await openCheckpoint(join(area, "llama")), await openCheckpoint(folder)];
          const { model, close } = await openOnnxFile(await torchExport("llama-legacy", root));
          const options = withBase ? { base } : {};
          const made = await reweightModel(quantize(model), fresh, options);
          // quantizing the float graph with new weights is what a fresh export does
          const wanted = quantize((await reweightModel(model, fresh, { base })).model);
          const [ours, theirs, old] = await Promise.all(
            [made.model, wanted, quantize(model)].map((each) => encodeOnnx(each)),
          );
          expect(Buffer.from(ours).equals(theirs)).toBe(true);
          expect(Buffer.from(ours).equals(old)).toBe(false);
          await Promise.all([close(), base.close(), fresh.close()]);
        });
      }, 60_000);
    }
  }
});

describe.skipIf(!existsSync(join(area, "resnet")))("batch normalization that was folded into convolutions", () => {
  test("torch's resnet: the outputs of a fresh export", async () => {
    await withFolder(async (root) => {
      const fresh = await otherModel(join(area, "resnet"), join(root, "new"));
      const old = await torchExport("resnet-legacy", root);
      const { files } = await reweightFolder(old, fresh, join(root, "out"), { base: join(area, "resnet") });
      const folded = files[0].matched.filter(({ transform }) => transform === "batch normalization folded in");
      expect(folded.length).toBe(24);
      expect(folded[1].tensors.length).toBe(4); // scale, shift, mean, variance
      await exportFolder(fresh, join(root, "fresh"), { dtypes: ["fp32"], verify: false });
      const pixels = fromData(
        "float32",
        Float32Array.from({ length: 768 }, (_, i) => Math.sin(i)),
        [1, 3, 16, 16],
      );
      const [made, wanted] = await Promise.all(
        [join(root, "out/resnet-legacy.onnx"), join(root, "fresh/onnx/model.onnx")].map(async (path) => {
          const session = await openSession(path, { threads: 1 });
          const outputs = await session.run({ pixel_values: pixels });
          await session.close();
          return outputs.logits;
        }),
      );
      expect(maxDifference(made, wanted)).toBeLessThan(2e-5);
    });
  }, 60_000);
});

/** A graph of a few nodes over weights. */
function smallGraph(nodes: readonly OnnxNode[], weights: Readonly<Record<string, Tensor>>): OnnxModel {
  const x = { name: "x", dtype: "float32", shape: ["rows", 20] } as const;
  const y = { name: "y", dtype: "float32", shape: undefined } as const;
  const initializers = new Map(Object.entries(weights).map(([name, tensor]) => [name, initializer(name, tensor)]));
  return {
    irVersion: 10,
    producer: { name: "", version: "" },
    opsets: { "": 21 },
    functions: [],
    metadata: {},
    graph: { name: "", nodes, inputs: [x], outputs: [y], initializers, valueInfo: new Map() },
  };
}

const vector = (values: readonly number[]) => fromData("float32", Float32Array.from(values), [values.length]);
const square = (seed: number) =>
  fromData(
    "float32",
    Float32Array.from({ length: 400 }, (_, i) => Math.sin(seed + i)),
    [20, 20],
  );

async function withTensors<T>(
  tensors: Readonly<Record<string, Tensor>>,
  use: (checkpoint: Checkpoint) => Promise<T>,
): Promise<T> {
  const bytes = writeSafetensors(new Map(Object.entries(tensors)));
  const checkpoint = await openSafetensors(bytesSource(bytes, "model.safetensors"));
  try {
    return await use(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

test("a table of codes packed in bytes, by names and by values; rows in GPTQ's order are refused", async () => {
  const name = "model.embed_tokens.weight";
  const table = (seed: number) =>
    fromData(
      "float32",
      Float32Array.from({ length: 640 }, (_, i) => Math.sin(seed * i)),
      [20, 32],
    );
  const coded = (weight: Tensor) =>
    quantizeBlocks(transpose(weight), { bits: 4, blockSize: 16, symmetric: true }, name);
  const { packed, scales } = coded(table(1.3));
  const attributes = { bits: int(4), block_size: int(16), gather_axis: int(0), quantize_axis: int(1) };
  const gathered = onnxNode("GatherBlockQuantized", [`${name}_Q4`, "x", `${name}_scales`], ["y"], {
    domain: "com.microsoft",
    attributes,
  });
  const parts = { [`${name}_Q4`]: reshape(packed, [20, 16]), [`${name}_scales`]: reshape(scales, [20, 2]) };
  const graph = smallGraph([gathered], parts);
  await withTensors({ [name]: table(1.3) }, async (base) => {
    await withTensors({ [name]: table(2.7) }, async (checkpoint) => {
      for (const options of [{}, { base }]) {
        const { model } = await reweightModel(graph, checkpoint, options);
        const made = (await model.graph.initializers.get(`${name}_Q4`)?.data.read()) as Tensor;
        expect(made.shape).toEqual([20, 16]);
        expect(Array.from(made.data as Uint8Array)).toEqual(Array.from(coded(table(2.7)).packed.data as Uint8Array));
      }
      const ordered = onnxNode("MatMulNBits", ["x", `${name}_Q4`, `${name}_scales`, "", "order"], ["y"], {
        domain: "com.microsoft",
        name: "product",
      });
      const order = { order: fromData("int32", new Int32Array(32), [32]) };
      await expect(reweightModel(smallGraph([ordered], { ...parts, ...order }), checkpoint)).rejects.toThrow(
        /node "product".*rows in another order \(g_idx\)/,
      );
    });
  });
});

describe("what names alone may say", () => {
  const ones = vector(Array.from({ length: 20 }, (_, i) => 1 + i / 10));
  const norm = vector(Array.from({ length: 20 }, (_, i) => i / 7));

  test("a folded norm of Gemma is 1 + weight; of an unknown family it is refused", async () => {
    const node = onnxNode("Mul", ["x", "onnx::Mul_7"], ["y"], { name: "/model/layers.0/input_layernorm/Mul_1" });
    const graph = smallGraph([node], { "onnx::Mul_7": ones });
    await withTensors({ "model.layers.0.input_layernorm.weight": norm }, async (checkpoint) => {
      const { model, report } = await reweightModel(graph, checkpoint, { config: { model_type: "gemma2" } });
      const made = await model.graph.initializers.get("onnx::Mul_7")?.data.read();
      expect(Array.from(made?.data as Float32Array)).toEqual(Array.from(norm.data, (value) => Math.fround(value + 1)));
      expect(report.matched[0]).toMatchObject({ transform: "plus 1", how: "name" });
      await expect(reweightModel(graph, checkpoint)).rejects.toMatchObject({ code: "UNMATCHED_WEIGHTS" });
    });
  });

  test("a square weight is turned where a product reads it, also behind a cast; where nothing tells, it is refused", async () => {
    const name = "model.layers.0.self_attn.q_proj.weight";
    const [old, fresh] = [square(1), square(2)];
    const product = [
      onnxNode("Cast", [name], ["c"], { attributes: { to: int(1) } }),
      onnxNode("MatMul", ["x", "c"], ["y"]),
    ];
    await withTensors({ [name]: fresh }, async (checkpoint) => {
      const { model } = await reweightModel(smallGraph(product, { [name]: old }), checkpoint);
      const made = (await model.graph.initializers.get(name)?.data.read()) as Tensor;
      expect([made.stride[0], made.stride[1]]).toEqual([1, 20]);
      const unclear = smallGraph([onnxNode("Add", ["x", name], ["y"])], { [name]: old });
      await expect(reweightModel(unclear, checkpoint)).rejects.toMatchObject({ code: "AMBIGUOUS_WEIGHT" });
    });
  });

  test("a short bias without a name is not left behind", async () => {
    const nodes = [onnxNode("Gemm", ["x", "classifier.weight", "c"], ["y"], { attributes: { transB: int(1) } })];
    const head = (value: number) => fromData("float32", new Float32Array(60).fill(value), [3, 20]);
    const graph = smallGraph(nodes, { "classifier.weight": head(1), c: vector([0.5, 0.25, 2]) });
    await withTensors({ "classifier.weight": head(2), "classifier.bias": vector([1, 2, 3]) }, async (checkpoint) => {
      await expect(reweightModel(graph, checkpoint)).rejects.toMatchObject({ code: "AMBIGUOUS_WEIGHT" });
      const before = { "classifier.weight": head(1), "classifier.bias": vector([0.5, 0.25, 2]) };
      await withTensors(before, async (base) => {
        const { model } = await reweightModel(graph, checkpoint, { base });
        const made = await model.graph.initializers.get("c")?.data.read();
        expect(Array.from(made?.data as Float32Array)).toEqual([1, 2, 3]);
      });
    });
  });

  test("the genai builder's packed names are q, k and v joined", async () => {
    const packed = "model.layers.0.attn.qkv_proj.MatMul.weight";
    const parts = { q: [20, 20], k: [4, 20], v: [4, 20] };
    const tensors = Object.fromEntries(
      Object.entries(parts).map(([part, shape], at) => [
        `model.layers.0.self_attn.${part}_proj.weight`,
        fromData("float32", new Float32Array(shape[0] * shape[1]).fill(at + 1), shape),
      ]),
    );
    const graph = smallGraph([onnxNode("MatMul", ["x", packed], ["y"])], {
      [packed]: fromData("float32", new Float32Array(560), [20, 28]),
    });
    await withTensors(tensors, async (checkpoint) => {
      const { model, report } = await reweightModel(graph, checkpoint);
      expect(report.matched[0].transform).toBe("3 tensors joined, transpose");
      const made = (await model.graph.initializers.get(packed)?.data.read()) as Tensor;
      const row = Array.from({ length: 28 }, (_, column) => Number(made.data[made.offset + column * made.stride[1]]));
      expect(row).toEqual([...new Array(20).fill(1), ...new Array(4).fill(2), ...new Array(4).fill(3)]);
    });
  });
});

test("paths of names and scopes agree from the inside out, and never across layers", () => {
  const tensor = pathOfName("model.layers.3.self_attn.q_proj.weight");
  expect(agreement(pathOfName("model.layers.3.attn.q_proj.MatMul.weight_Q4"), tensor)).toBe(5);
  expect(agreement(pathOfNode("/model/model/layers.3/self_attn/q_proj/MatMul", "weight") ?? tensor, tensor)).toBe(5);
  expect(agreement(pathOfName("layers.4.self_attn.q_proj.weight"), tensor)).toBe(0);
  expect(agreement(pathOfName("q_proj.weight"), tensor)).toBe(0);
  expect(agreement(pathOfName("model.layers.3.self_attn.q_proj.bias"), tensor)).toBe(0);
  expect(agreement(pathOfName("model.layers.9.final_norm_layernorm.weight"), pathOfName("model.norm.weight"))).toBe(2);
  expect(
    packedPaths(pathOfName("model.layers.3.mlp.gate_up_proj.weight"))[0].map(({ modules }) => modules.at(-1)),
  ).toEqual(["gate_proj", "up_proj"]);
});

test("tables that follow from a configuration stay, weights do not pass for them", () => {
  const frequencies = Array.from({ length: 32 }, (_, i) => 10000 ** (-i / 32));
  const table = (wave: (x: number) => number) =>
    Float32Array.from({ length: 64 * 32 }, (_, i) => 1.2 * wave(Math.floor(i / 32) * frequencies[i % 32]));
  expect(constantReason(Float32Array.from(frequencies), [1, 32, 1])).toBe("frequencies of rotary positions");
  expect(constantReason(table(Math.cos), [1, 1, 64, 32])).toBe("a table of cosines or sines");
  expect(constantReason(table(Math.sin), [64, 32])).toBe("a table of cosines or sines");
  expect(
    constantReason(
      Float32Array.from({ length: 64 }, (_, i) => (i % 3 === 0 ? -3.4e38 : 0)),
      [8, 8],
    ),
  ).toBe("a mask");
  expect(
    constantReason(
      Float32Array.from({ length: 64 }, (_, i) => Math.sin(i * i)),
      [8, 8],
    ),
  ).toBeUndefined();
  expect(
    constantReason(
      Float32Array.from({ length: 64 }, (_, i) => 1 + Math.sin(i * i)),
      [64],
    ),
  ).toBeUndefined();
});
