import type { LoomweightError } from "@loomweight/tensor";
import { expect, test } from "vitest";
import type { PlannedTensor, SafetensorsPlan } from "./checkpoint.ts";
import { indexFileName, type PlanOptions, planSafetensors } from "./plan.ts";

const floats = (name: string, count: number): PlannedTensor => ({ name, dtype: "float32", shape: [count] });
const headerOf = (plan: SafetensorsPlan, file = 0) =>
  JSON.parse(new TextDecoder().decode(plan.files[file].header.subarray(8)));

test("wide dtypes come first, names follow the order of their UTF-8 bytes", () => {
  const plan = planSafetensors([
    { name: "\uffff", dtype: "float32", shape: [1] },
    { name: "😀", dtype: "float32", shape: [1] },
    { name: "a", dtype: "bool", shape: [1] },
    { name: "b", dtype: "int64", shape: [1] },
    { name: "B", dtype: "float32", shape: [1] },
    { name: "c", dtype: "bfloat16", shape: [1] },
  ]);
  expect(Object.keys(headerOf(plan))).toEqual(["__metadata__", "b", "B", "\uffff", "😀", "c", "a"]);
});

test("a file's header says what its places say", () => {
  const plan = planSafetensors([floats("b", 3), { name: "a", dtype: "uint8", shape: [2, 2] }], { metadata: {} });
  const { header, size, name } = plan.files[0];
  expect(name).toBe("model.safetensors");
  expect(headerOf(plan)).toEqual({
    b: { dtype: "F32", shape: [3], data_offsets: [0, 12] },
    a: { dtype: "U8", shape: [2, 2], data_offsets: [12, 16] },
  });
  expect(new DataView(header.buffer).getBigUint64(0, true)).toBe(BigInt(header.length - 8));
  expect(plan.tensors.get("a")).toEqual({ file: 0, position: header.length + 12, byteLength: 4 });
  expect(size).toBe(header.length + 16);
  expect(plan.index).toBeUndefined();
});

test("shards are filled in the given order as long as the next tensor fits; larger ones stand alone", () => {
  const tensors = [floats("a", 3), floats("b", 3), floats("big", 20), floats("c", 1), floats("d", 2), floats("e", 8)];
  const plan = planSafetensors(tensors, { maxShardBytes: 32 });
  const inFiles = plan.files.map((_, file) =>
    [...plan.tensors].filter(([, place]) => place.file === file).map(([n]) => n),
  );
  expect(inFiles).toEqual([["big"], ["a", "b", "c"], ["d"], ["e"]]);
  expect(plan.files.map(({ name }) => name)).toEqual([1, 2, 3, 4].map((n) => `model-0000${n}-of-00004.safetensors`));
  expect(indexFileName(plan)).toBe("model.safetensors.index.json");
  expect(plan.index).toBe(`{
  "metadata": {
    "total_size": 148
  },
  "weight_map": {
    "a": "model-00002-of-00004.safetensors",
    "b": "model-00002-of-00004.safetensors",
    "big": "model-00001-of-00004.safetensors",
    "c": "model-00002-of-00004.safetensors",
    "d": "model-00003-of-00004.safetensors",
    "e": "model-00004-of-00004.safetensors"
  }
}
`);
});

test("names beyond ASCII are escaped in the index and stay themselves in the header", () => {
  const plan = planSafetensors([floats("é", 1), floats("😀", 1)], { maxShardBytes: 4, fileStem: "adapter_model" });
  expect(plan.index).toContain('"\\u00e9": "adapter_model-00001-of-00002.safetensors"');
  expect(JSON.parse(plan.index ?? "").weight_map["😀"]).toBe("adapter_model-00002-of-00002.safetensors");
  expect(headerOf(plan).é).toBeDefined();
  expect(indexFileName(plan)).toBe("adapter_model.safetensors.index.json");
});

test.each<[string, PlannedTensor[], PlanOptions, string]>([
  ["two tensors of one name", [floats("a", 1), floats("a", 2)], {}, "DUPLICATE_TENSOR"],
  ["a negative size", [floats("a", -1)], {}, "INVALID_SHAPE"],
  ["a fraction", [floats("a", 0.5)], {}, "INVALID_SHAPE"],
  ["a shape that overflows", [{ name: "a", dtype: "uint8", shape: [2 ** 40, 2 ** 40] }], {}, "INVALID_SHAPE"],
  ["65 axes", [{ name: "a", dtype: "uint8", shape: Array(65).fill(1) }], {}, "INVALID_SHAPE"],
  ["half a byte", [{ name: "a", dtype: "float4_e2m1fn", shape: [3] }], {}, "INVALID_SHAPE"],
  ["text", [{ name: "a", dtype: "string", shape: [3] }], {}, "UNSUPPORTED_DTYPE"],
  ["no shard size", [floats("a", 1)], { maxShardBytes: 0 }, "INVALID_OPTION"],
  ["NaN as shard size", [floats("a", 1)], { maxShardBytes: Number.NaN }, "INVALID_OPTION"],
  ["a file stem with a folder", [floats("a", 1)], { fileStem: "a/b" }, "INVALID_OPTION"],
  ["a file stem that leaves the folder", [floats("a", 1)], { fileStem: ".." }, "UNSAFE_NAME"],
  ["a lone surrogate in metadata", [], { metadata: { a: "\ud800" } }, "INVALID_METADATA"],
])("%s is refused", (_, tensors, options, code) => {
  let thrown: LoomweightError | undefined;
  try {
    planSafetensors(tensors, options);
  } catch (error) {
    thrown = error as LoomweightError;
  }
  expect(thrown?.code).toBe(code);
});
