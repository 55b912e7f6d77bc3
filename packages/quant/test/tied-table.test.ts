import { encodeOnnx, type LazyTensor, lazyTensor, type OnnxModel, onnxNode } from "@loomweight/graph";
import { cast, fromData, type Tensor, toFloat32 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  dequantizeBlocks,
  quantizeBlocks,
  quantizeModel,
  quantizeWeightOnly,
  type WeightOnlyOptions,
} from "../src/index.ts";
import { expectTopological, runHere } from "./recorded.ts";

const [rows, width] = [45, 96];
const table = fromData(
  "float32",
  Float32Array.from({ length: rows * width }, (_, i) => Math.sin(i * 1.7) * (1 + (i % 7))),
  [rows, width],
);
const turned: Tensor = { ...table, shape: [width, rows], stride: [1, width] };

/** ids → states = rows of a table → logits = states · tableᵀ; both weights come from one tensor of a checkpoint. */
function tiedModel({ dtype = "float32" as "float32" | "float16", other = "embed" } = {}): OnnxModel {
  const steps = dtype === "float32" ? [] : [`cast ${dtype}`];
  const from = (tensor: Tensor, name: string, transform: readonly string[]): LazyTensor => {
    const origin = { tensors: [name], ...(transform.length > 0 && { transform: transform.join(", ") }) };
    return lazyTensor(dtype === "float32" ? tensor : cast(tensor, dtype), origin);
  };
  const weights = {
    embed: from(table, "embed", steps),
    head: from(turned, other, ["transpose", ...steps]),
  };
  return {
    irVersion: 10,
    producer: { name: "test", version: "" },
    opsets: { "": 21 },
    functions: [],
    metadata: {},
    graph: {
      name: "tied",
      nodes: [
        onnxNode("Gather", ["embed", "ids"], ["states"], { name: "/embed/Gather" }),
        onnxNode("MatMul", ["states", "head"], ["logits"], { name: "/head/MatMul" }),
      ],
      inputs: [{ name: "ids", dtype: "int64", shape: ["n", "m"] }],
      outputs: [
        { name: "states", dtype, shape: ["n", "m", width] },
        { name: "logits", dtype, shape: ["n", "m", rows] },
      ],
      initializers: new Map(
        Object.entries(weights).map(([name, data]) => [name, { name, dtype, shape: data.shape, data }]),
      ),
      valueInfo: new Map(),
    },
  };
}

const ids = [3, 0, 44, 7, 31, 3];
const feeds = { ids: fromData("int64", BigInt64Array.from(ids, BigInt), [2, 3]) };
/** One of the two outputs. */
const runFor = ({ graph, ...model }: OnnxModel, output: string) =>
  runHere({ ...model, graph: { ...graph, outputs: graph.outputs.filter(({ name }) => name === output) } }, feeds);
const ops = (model: OnnxModel) => model.graph.nodes.map(({ op }) => op);

const codings: Readonly<Record<string, WeightOnlyOptions>> = {
  "4 bits": {},
  "4 bits with zero points": { symmetric: false },
  "blocks of 16": { blockSize: 16, symmetric: false },
  "8 bits": { bits: 8 },
  "8 bits for the head alone": { eightBits: ["head"] },
};

describe("a table that the head is tied to", () => {
  for (const [name, options] of Object.entries(codings)) {
    for (const dtype of ["float32", "float16"] as const) {
      test(`${name}, ${dtype}: its rows are those of the head's codes, stored once`, async () => {
        const model = quantizeWeightOnly(tiedModel({ dtype }), { ...options, embeddings: "tied" });
        expectTopological(model);
        expect(ops(model)).toEqual(["Reshape", "GatherBlockQuantized", "MatMulNBits"]);
        const parts = [...model.graph.initializers.keys()].filter((each) => each.startsWith("head_")).length;
        expect(parts).toBe(options.symmetric === false ? 4 : 3); // codes, scales, zero points; the shape of the rows
        expect(model.graph.initializers.has("embed")).toBe(false);

        const bits = options.bits ?? (options.eightBits === undefined ? 4 : 8);
        const { blockSize = 32, symmetric = true } = options;
        const coded = quantizeBlocks(dtype === "float32" ? turned : cast(turned, dtype), {
          bits,
          blockSize,
          symmetric,
        });
        const values = toFloat32(dequantizeBlocks(coded)); // [width, rows]
        const outputs = await runFor(model, "states");
        const found = toFloat32(outputs);
        const tolerance = dtype === "float32" ? 1e-5 : 4e-3;
        for (const [at, id] of ids.entries()) {
          for (let i = 0; i < width; i++) {
            const wanted = values[i * rows + id];
            expect(Math.abs(found[at * width + i] - wanted)).toBeLessThanOrEqual(tolerance * (1 + Math.abs(wanted)));
          }
        }
      });
    }
  }

  test("written twice it has the same bytes, and half of those of a table apart", async () => {
    const bytes = await encodeOnnx(quantizeWeightOnly(tiedModel(), { embeddings: true }));
    expect(await encodeOnnx(quantizeWeightOnly(tiedModel(), { embeddings: true }))).toEqual(bytes);
    const apart = await encodeOnnx(quantizeWeightOnly(tiedModel({ other: "lm_head" }), { embeddings: true }));
    const coded = (rows * width) / 2 + (4 * rows * width) / 32;
    expect(apart.length - bytes.length).toBeGreaterThan(0.9 * coded);
  });

  test("it stays apart where rows are no whole blocks, the head is left alone or the tie is none", () => {
    const made = (options: WeightOnlyOptions, model = tiedModel()) => ops(quantizeWeightOnly(model, options));
    expect(made({ embeddings: "tied", blockSize: 64 })).toEqual(["Gather", "MatMulNBits"]);
    expect(made({ embeddings: "tied", bits: 2 })).toEqual(["Gather", "MatMulNBits"]);
    expect(made({ embeddings: "tied", exclude: ["head"] })).toEqual(["Gather", "MatMul"]);
    expect(made({ embeddings: "tied" }, tiedModel({ other: "lm_head" }))).toEqual(["Gather", "MatMulNBits"]);
    expect(made({ embeddings: "tied", format: "qdq" })).toEqual(["Gather", "DequantizeLinear", "MatMul"]);
    expect(made({})).toEqual(["Gather", "MatMulNBits"]);
    expect(made({ embeddings: true, blockSize: 64 })).toEqual(["GatherBlockQuantized", "MatMulNBits"]);
    const wrong = { embeddings: "shared" } as unknown as WeightOnlyOptions;
    expect(() => made(wrong)).toThrow(/embeddings.*true, false or tied/s);
  });

  test("q4f16 shares it, too", async () => {
    const model = quantizeModel(tiedModel(), "q4f16", { embeddings: "tied" });
    expect(ops(model).filter((op) => op === "GatherBlockQuantized" || op === "MatMulNBits").length).toBe(2);
    const [wanted, found] = [await runFor(tiedModel(), "logits"), await runFor(model, "logits")];
    const largest = Math.max(...toFloat32(wanted).map(Math.abs));
    const error = Math.max(...toFloat32(wanted).map((value, i) => Math.abs(value - toFloat32(found)[i])));
    expect(error / largest).toBeLessThan(0.1);
  });
});
