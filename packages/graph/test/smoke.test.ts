import { bytesSource } from "@loomweight/checkpoint";
import { fromData } from "@loomweight/tensor";
import * as ort from "onnxruntime-node";
import { expect, test } from "vitest";
import {
  add,
  assemble,
  concat,
  encodeOnnx,
  gather,
  input,
  matMul,
  named,
  parameter,
  readOnnx,
  relu,
  reshape,
  shapeOf,
  unsqueeze,
} from "../src/index.ts";
import { lazyTensor } from "../src/inputs.ts";

test("x", async () => {
  const x = input("x", "float32", ["batch", 3]);
  const w = parameter("w", lazyTensor(fromData("float32", Float32Array.of(1, 2, 3, 4, 5, 6), [3, 2])));
  const y = named("layer", () => relu(add(matMul(x, w), 1)));
  const z = reshape(y, [gather(shapeOf(x), 0), -1, 1]);
  const model = assemble({ name: "g", inputs: [x], outputs: { y, z } });
  console.log(model.graph.nodes, model.graph.outputs);
  const bytes = await encodeOnnx(model);
  const s = await ort.InferenceSession.create(bytes);
  const out = await s.run({ x: new ort.Tensor("float32", Float32Array.of(1, 0, -1), [1, 3]) });
  console.log(out.y.data, out.z.dims);
  const back = await readOnnx(bytesSource(bytes, "m.onnx"));
  expect(await encodeOnnx(back)).toEqual(bytes);
});
