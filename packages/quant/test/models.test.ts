import {
  encodeOnnx,
  type Initializer,
  type LazyTensor,
  lazyTensor,
  type OnnxModel,
  type OnnxNode,
  readOnnx,
} from "@loomweight/graph";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import {
  convertToFloat16,
  type ModelDType,
  modelDTypes,
  quantizeDynamic,
  quantizeModel,
  quantizeWeightOnly,
  type TensorReport,
} from "../src/index.ts";
import { expectTopological, runHere } from "./recorded.ts";

const [vocabulary, width, hidden] = [40, 32, 64];

function wave(shape: readonly number[], phase: number): Tensor<"float32"> {
  const count = shape.reduce((product, size) => product * size, 1);
  return fromData(
    "float32",
    Float32Array.from({ length: count }, (_, i) => Math.sin(i * 1.7 + phase) * 0.3),
    shape,
  );
}

function constant(name: string, data: LazyTensor): [string, Initializer] {
  return [name, { name, dtype: data.dtype, shape: data.shape, data }];
}

const node = (op: string, name: string, inputs: string[], outputs: string[]): OnnxNode => ({
  op,
  domain: "",
  name,
  inputs,
  outputs,
  attributes: {},
});

/** ids → embedding → up → Relu → down; `reads` counts how often each weight was read. */
function network(reads: Map<string, number> = new Map()): OnnxModel {
  const counted = (name: string, tensor: Tensor): LazyTensor => ({
    dtype: tensor.dtype,
    shape: tensor.shape,
    origin: { tensors: [name] },
    async read() {
      reads.set(name, (reads.get(name) ?? 0) + 1);
      return tensor;
    },
  });
  const stored = wave([hidden, width], 1); // [out, in], as a checkpoint has it
  const up: Tensor = { ...stored, shape: [width, hidden], stride: [1, width] };
  return {
    irVersion: 10,
    producer: { name: "test", version: "" },
    opsets: { "": 21 },
    functions: [],
    metadata: {},
    graph: {
      name: "network",
      nodes: [
        node("Gather", "/embed/Gather", ["embed", "ids"], ["h"]),
        node("MatMul", "/up/MatMul", ["h", "up"], ["u"]),
        node("Add", "/up/Add", ["u", "bias"], ["b"]),
        node("Relu", "/act/Relu", ["b"], ["r"]),
        node("MatMul", "/down/MatMul", ["r", "down"], ["y"]),
      ],
      inputs: [{ name: "ids", dtype: "int64", shape: ["n"] }],
      outputs: [{ name: "y", dtype: "float32", shape: ["n", width] }],
      initializers: new Map([
        constant("embed", counted("embed", wave([vocabulary, width], 0))),
        constant("up", counted("up", up)),
        constant("bias", lazyTensor(wave([hidden], 2))),
        constant("down", counted("down", wave([hidden, width], 3))),
      ]),
      valueInfo: new Map(
        ["h", "u", "b", "r"].map((name) => [name, { name, dtype: "float32" as const, shape: undefined }]),
      ),
    },
  };
}

const ids = fromData("int64", BigInt64Array.of(3n, 0n, 39n, 7n), [4]);
const decibels = (wanted: Tensor, found: Tensor): number => {
  const [a, b] = [wanted.data as Float32Array, found.data as Float32Array];
  const sum = (each: (i: number) => number) => a.reduce((total, _, i) => total + each(i) ** 2, 0);
  return 10 * Math.log10(sum((i) => a[i]) / sum((i) => a[i] - b[i]));
};

/** Least signal to noise of the whole network's output in each form, in decibels. */
const least: Readonly<Record<ModelDType, number>> = {
  fp32: 120,
  fp16: 50,
  q8: 30,
  int8: 30,
  uint8: 30,
  q4: 15,
  q4f16: 15,
  bnb4: 14,
  bf16: 45,
};

test.each(Object.keys(modelDTypes) as ModelDType[])("%s runs in onnxruntime, near the float model", async (dtype) => {
  const model = quantizeModel(network(), dtype);
  expectTopological(model);
  const wanted = await runHere(network(), { ids });
  const found = await runHere(model, { ids });
  expect(found.shape).toEqual([4, width]);
  expect(decibels(wanted, found)).toBeGreaterThan(least[dtype]);
  if (dtype !== "fp32") expect(found.data).not.toEqual(wanted.data);
});

test.each(Object.keys(modelDTypes) as ModelDType[])(
  "%s reads each weight once, and writes the same bytes twice",
  async (dtype) => {
    const reads = new Map<string, number>();
    const bytes = await encodeOnnx(quantizeModel(network(reads), dtype));
    expect(Object.fromEntries(reads)).toEqual({ embed: 1, up: 1, down: 1 });
    expect(await encodeOnnx(quantizeModel(network(), dtype))).toEqual(bytes);
  },
);

test("rewriting reads nothing", () => {
  const reads = new Map<string, number>();
  for (const dtype of Object.keys(modelDTypes) as ModelDType[]) quantizeModel(network(reads), dtype);
  expect(reads.size).toBe(0);
});

test("include and exclude name nodes or weights, with * for any text", () => {
  const ops = (options: object) => quantizeWeightOnly(network(), options).graph.nodes.map(({ op }) => op);
  expect(ops({})).toEqual(["Gather", "MatMulNBits", "Add", "Relu", "MatMulNBits"]);
  expect(ops({ exclude: ["/down/*"] })).toEqual(["Gather", "MatMulNBits", "Add", "Relu", "MatMul"]);
  expect(ops({ include: ["down"] })).toEqual(["Gather", "MatMul", "Add", "Relu", "MatMulNBits"]);
  expect(ops({ embeddings: true, exclude: ["*MatMul"] })[0]).toBe("GatherBlockQuantized");
});

test("a report tells what each weight lost", async () => {
  const reports: TensorReport[] = [];
  await encodeOnnx(quantizeModel(network(), "q4", { onTensor: (report) => reports.push(report) }));
  expect(reports.map(({ name, form }) => [name, form])).toEqual([
    ["up", "q4 block 32"],
    ["down", "q4 block 32"],
  ]);
  for (const { sqnr, largestError, bytesBefore, bytesAfter } of reports) {
    expect(sqnr).toBeGreaterThan(15);
    expect(sqnr).toBeLessThan(35);
    expect(largestError).toBeLessThan(0.05);
    expect(bytesBefore).toBe(4 * width * hidden);
    expect(bytesAfter).toBe((width * hidden) / 2 + (4 * width * hidden) / 32);
  }
});

test("weights that two nodes share are coded once", async () => {
  const model = network();
  const twice = [...model.graph.nodes.slice(0, 4), node("MatMul", "/more/MatMul", ["h", "up"], ["v"])];
  const both = node("MatMul", "/down/MatMul", ["w", "down"], ["y"]);
  const shared = {
    ...model,
    graph: { ...model.graph, nodes: [...twice, node("Add", "sum", ["r", "v"], ["w"]), both] },
  };
  for (const quantize of [quantizeWeightOnly, quantizeDynamic]) {
    const result = quantize(shared);
    expect([...result.graph.initializers.keys()].filter((name) => name.startsWith("up_")).length).toBeLessThanOrEqual(
      3,
    );
    expect((await runHere(result, { ids })).shape).toEqual([4, width]);
  }
});

test("between nodes that stay float32 there are no casts, and a second conversion changes nothing", async () => {
  const options = { blockOps: ["Relu", "Add"] };
  const half = convertToFloat16(network(), options);
  expect(half.graph.nodes.filter(({ op }) => op === "Cast").map(({ outputs }) => outputs[0])).toEqual([
    "u_cast_to_fp32",
    "r",
    "y",
  ]);
  expect(half.graph.initializers.get("bias")?.dtype).toBe("float32");
  const again = convertToFloat16(half, options);
  expect(again.graph.nodes).toEqual(half.graph.nodes);
  expect(decibels(await runHere(network(), { ids }), await runHere(half, { ids }))).toBeGreaterThan(50);
});

test("a quantized model survives its file", async () => {
  for (const dtype of ["q4f16", "q8"] as const) {
    const bytes = await encodeOnnx(quantizeModel(network(), dtype, { embeddings: true }));
    const read = async (start: number, end: number) => bytes.slice(start, end);
    const back = await readOnnx({ name: "memory", size: bytes.length, read, close: async () => {} });
    expect(await encodeOnnx(back)).toEqual(bytes);
  }
});

test("options and weights that make no sense are refused by name", async () => {
  const bad = (run: () => unknown) => expect(run);
  bad(() => quantizeModel(network(), "q5" as ModelDType)).toThrow(/"q5".*q4/);
  bad(() => quantizeWeightOnly(network(), { bits: 3 as 4 })).toThrow(/quantizeWeightOnly\.bits/);
  bad(() => quantizeWeightOnly(network(), { blockSize: 17 })).toThrow(/quantizeWeightOnly\.blockSize/);
  bad(() => quantizeWeightOnly(network(), { accuracyLevel: 5 as 4 })).toThrow(/accuracyLevel/);
  bad(() => quantizeWeightOnly(network(), { format: "qdq", bits: 8 })).toThrow(/bits/);
  bad(() => quantizeWeightOnly(network(), { exclude: "up" as unknown as string[] })).toThrow(/exclude/);
  bad(() => quantizeDynamic(network(), { weightType: "int4" as "int8" })).toThrow(/weightType/);
  bad(() => quantizeDynamic(network(), { ops: ["Softmax" as "MatMul"] })).toThrow(/ops/);
  bad(() => quantizeDynamic({ ...network(), opsets: { "": 9 } })).toThrow(/opset 9/);
  bad(() => convertToFloat16(network(), { keepIoTypes: "y" as unknown as string[] })).toThrow(/keepIoTypes/);
  const model = network();
  const broken = wave([hidden, width], 0);
  broken.data[5] = Number.NaN;
  const initializers = new Map([...model.graph.initializers, constant("down", lazyTensor(broken))]);
  const poisoned = { ...model, graph: { ...model.graph, initializers } };
  for (const dtype of ["q4", "q8", "bnb4"] as const) {
    await expect(encodeOnnx(quantizeModel(poisoned, dtype))).rejects.toThrow(/tensor "down".*NaN/);
  }
});
