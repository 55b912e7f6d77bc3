import { bytesSource } from "@loomweight/checkpoint";
import { encodeOnnx, lazyTensor, type OnnxModel, readOnnx } from "@loomweight/graph";
import { cast, createRandom, type DType, fromData, toFloat32 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { exportedGraph, smallLlama } from "../../test/slots-small.ts";
import { fileSampler } from "./sample-file.ts";

const shape = [321, 517];
const random = createRandom(3, "sample-file");
const values = fromData(
  "float32",
  Float32Array.from({ length: shape[0] * shape[1] }, (_, i) => random.normal(i)),
  shape,
);
const last = shape[0] * shape[1] - 1;
const places = [0, 1, 2047, 2048, 4095, 5 * 517, last, 3, last - 1, 90000, 0];

test.each(["float32", "float16", "bfloat16", "float64"] as const)(
  "elements of a %s weight, first and last, read alone",
  async (dtype: DType) => {
    const tensor = cast(values, dtype);
    const small = await exportedGraph(await smallLlama(), { dtypes: ["fp32"] });
    const model: OnnxModel = await readOnnx(bytesSource(small.bytes, "small.onnx"));
    const weight = { name: "weight", dtype, shape, data: lazyTensor(tensor) };
    const initializers = new Map([...model.graph.initializers, ["weight", weight]]);
    const bytes = await encodeOnnx({ ...model, graph: { ...model.graph, initializers } });
    const whole = bytesSource(bytes, "model.onnx");
    let most = 0;
    const read = async (start: number, end: number) => {
      most = Math.max(most, end - start);
      return whole.read(start, end);
    };
    const { graph } = await readOnnx({ ...whole, read });
    most = 0; // reading the graph scans it in larger parts
    const sample = fileSampler((graph.initializers.get("weight") as typeof weight).data);
    if (sample === undefined) throw new Error("nothing to sample");
    const all = toFloat32(tensor);
    const expected = (wanted: readonly number[]) => Float32Array.from(wanted, (place) => all[place]);
    expect(await sample(places)).toEqual(expected(places));
    expect(most).toBeLessThanOrEqual(4 * 4096);
    const every = Array.from({ length: all.length }, (_, i) => all.length - 1 - i);
    expect(Buffer.compare(bytesOfFloats(await sample(every)), bytesOfFloats(expected(every)))).toBe(0);
    expect(await sample([])).toEqual(new Float32Array(0));
    expect(await sample(places)).toEqual(expected(places)); // from blocks that stayed, or read again
  },
);

/** Compared by Buffer, not by `toEqual`, which walks them one by one. */
function bytesOfFloats({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

test("what lies in no file has no sampler", () => {
  expect(fileSampler(lazyTensor(values))).toBeUndefined();
});
