import { lazyTensor, type OnnxModel, type OnnxNode } from "@loomweight/graph";
import { fromData, LoomweightError } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { quantizeModel, quantizeWeightOnly, type WeightOnlyOptions } from "../src/index.ts";

const node = (op: string, name: string, inputs: string[], outputs: string[]): OnnxNode => ({
  ...{ op, domain: "", name, inputs, outputs, attributes: {} },
});

/** Layers of two products each, and a head with a bias whose name tells nothing. */
function decoder(layers = 16): OnnxModel {
  const nodes: OnnxNode[] = [];
  const weights = new Map<string, [number, number]>();
  let x = "x";
  for (let layer = 0; layer < layers; layer++) {
    for (const part of ["self_attn.v_proj", "mlp.gate_proj"]) {
      const weight = `model.layers.${layer}.${part}.weight`;
      weights.set(weight, [32, 32]);
      nodes.push(node("MatMul", `/layers.${layer}/${part}/MatMul`, [x, weight], [`${weight}_out`]));
      x = `${weight}_out`;
    }
  }
  weights.set("onnx::MatMul_99", [32, 48]);
  nodes.push(node("MatMul", "/last", [x, "onnx::MatMul_99"], ["product"]));
  nodes.push(node("Add", "/bias", ["product", "product"], ["logits"]));
  return {
    ...{ irVersion: 10, opsets: { "": 21 }, producer: { name: "test", version: "" }, metadata: {}, functions: [] },
    graph: {
      name: "decoder",
      inputs: [{ name: "x", dtype: "float32", shape: ["batch", 32] }],
      outputs: [{ name: "logits", dtype: "float32", shape: ["batch", 48] }],
      nodes,
      initializers: new Map(
        [...weights].map(([name, shape]) => {
          const values = Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => Math.sin(i));
          const data = lazyTensor(fromData("float32", values, shape));
          return [name, { name, dtype: "float32", shape, data }];
        }),
      ),
      valueInfo: new Map(),
    },
  };
}

/** Bits by name of the node that was rewritten. */
function bitsOf(options: WeightOnlyOptions, layers?: number): Record<string, number> {
  const { nodes } = quantizeWeightOnly(decoder(layers), options).graph;
  return Object.fromEntries(
    nodes.map(({ op, name, attributes: { bits } }) => [
      name.replace(/_Q\d$/, ""),
      op === "MatMulNBits" && bits.type === "int" ? Number(bits.value) : 32,
    ]),
  );
}

const inEight = (options: WeightOnlyOptions, layers?: number) =>
  Object.entries(bitsOf(options, layers))
    .filter(([, bits]) => bits === 8)
    .map(([name]) => name);

test("head: the product behind the logits, whatever it is called", () => {
  expect(inEight({ mixed: "head" })).toEqual(["/last"]);
});

test("ends: the first and the last layer and the head", () => {
  expect(inEight({ mixed: "ends" })).toEqual([
    ...[0, 15].flatMap((layer) => [
      `/layers.${layer}/self_attn.v_proj/MatMul`,
      `/layers.${layer}/mlp.gate_proj/MatMul`,
    ]),
    "/last",
  ]);
});

test("k-mixed: value projections of the outer eighths and of every third layer between, and the head", () => {
  const layers = [0, 1, 4, 7, 10, 13, 14, 15];
  expect(inEight({ mixed: "k-mixed" })).toEqual([
    ...layers.map((layer) => `/layers.${layer}/self_attn.v_proj/MatMul`),
    "/last",
  ]);
});

// What `make_matmul_mixed_precision` of onnxruntime-genai's builder lists: an eighth is rounded half to even there.
test.each([
  [12, [0, 1, 4, 7, 10, 11]],
  [22, [0, 1, 2, 5, 8, 11, 14, 17, 20, 21]],
  [28, [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 25, 26, 27]],
  [30, [0, 1, 2, 3, 6, 9, 12, 15, 18, 21, 24, 27, 28, 29]],
  [36, [0, 1, 2, 3, 4, 6, 9, 12, 15, 18, 21, 24, 27, 30, 32, 33, 34, 35]],
])("k-mixed of %i layers", (count, layers) => {
  const names = layers.map((layer) => `/layers.${layer}/self_attn.v_proj/MatMul`);
  expect(inEight({ mixed: "k-mixed" }, count)).toEqual([...names, "/last"]);
});

test("rules by regular expression and by name win over presets; the first that fits counts", () => {
  const bits = bitsOf({
    mixed: "ends",
    rules: [
      { match: /layers\.0\..*gate/, bits: "float" },
      { match: "*layers.1.*", bits: 2 },
      { match: /^\/last$/, bits: 4, blockSize: 16 },
      { match: /last/, bits: 2 },
    ],
  });
  expect(bits["/layers.0/mlp.gate_proj/MatMul"]).toBe(32);
  expect(bits["/layers.0/self_attn.v_proj/MatMul"]).toBe(8);
  expect(bits["/layers.1/self_attn.v_proj/MatMul"]).toBe(2);
  expect(bits["/layers.10/self_attn.v_proj/MatMul"]).toBe(4);
  expect(bits["/last"]).toBe(4);
});

test("unknown presets, bits and block sizes are refused by name", () => {
  const code = (options: WeightOnlyOptions): string => {
    try {
      quantizeWeightOnly(decoder(), options);
      return "none";
    } catch (error) {
      return error instanceof LoomweightError ? `${error.code} ${error.details.option}` : String(error);
    }
  };
  expect(code({ mixed: "best" as "head" })).toBe("INVALID_OPTION quantizeWeightOnly.mixed");
  expect(code({ rules: [{ match: "*", bits: 3 as 2 }] })).toBe("INVALID_OPTION quantizeWeightOnly.rules");
  expect(code({ rules: [{ match: 5 as unknown as string }] })).toBe("INVALID_OPTION quantizeWeightOnly.rules");
  expect(code({ rules: [{ match: "*", blockSize: 24 }] })).toBe("INVALID_OPTION quantizeWeightOnly.rules.blockSize");
  expect(code({ mixed: "head", format: "qdq" })).toBe("INVALID_OPTION quantizeWeightOnly.mixed");
});

test("fp4 and block sizes reach bnb4; DequantizeLinear is a format of q4", () => {
  const ops = (model: OnnxModel) => new Set(model.graph.nodes.map(({ op }) => op));
  const [first] = quantizeModel(decoder(), "bnb4", { quantType: "fp4", blockSize: 128 }).graph.nodes;
  expect(first.attributes.quant_type).toMatchObject({ value: 0 });
  expect(first.attributes.block_size).toMatchObject({ value: 128 });
  expect(ops(quantizeModel(decoder(), "q4", { format: "qdq" }))).toContain("DequantizeLinear");
});
