import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lazyTensor, type OnnxModel } from "@loomweight/graph";
import { openOnnxFile, writeOnnxFile } from "@loomweight/graph/node";
import { fromData } from "@loomweight/tensor";
import { afterEach, beforeEach, expect, test } from "vitest";
import { main } from "../src/main.ts";

let folder = "";
beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "loomweight-quantize-"));
  await writeOnnxFile(join(folder, "in.onnx"), product());
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** y [n, 96] = x [n, 64] W */
function product(): OnnxModel {
  const values = Float32Array.from({ length: 64 * 96 }, (_, i) => Math.sin(i * 7.3));
  const weight = fromData("float32", values, [64, 96]);
  return {
    irVersion: 10,
    producer: { name: "test", version: "" },
    opsets: { "": 21 },
    functions: [],
    metadata: {},
    graph: {
      name: "product",
      nodes: [{ op: "MatMul", domain: "", name: "/head", inputs: ["x", "W"], outputs: ["y"], attributes: {} }],
      inputs: [{ name: "x", dtype: "float32", shape: ["n", 64] }],
      outputs: [{ name: "y", dtype: "float32", shape: ["n", 96] }],
      initializers: new Map([["W", { name: "W", dtype: "float32", shape: [64, 96], data: lazyTensor(weight) }]]),
      valueInfo: new Map(),
    },
  };
}

async function quantize(...words: string[]) {
  const text = { stdout: "", stderr: "" };
  const stream = (name: "stdout" | "stderr") => ({
    write(part: string) {
      text[name] += part;
    },
  });
  const paths = [join(folder, "in.onnx"), join(folder, "out.onnx")];
  const exitCode = await main(["quantize", ...paths, ...words], { stdout: stream("stdout"), stderr: stream("stderr") });
  return { exitCode, ...text };
}

test("quantize writes what the options say, and reports it", async () => {
  const options = ["--dtype", "q4", "--block-size", "64", "--asymmetric", "--accuracy-level", "1", "--json"];
  const { exitCode, stdout } = await quantize(...options);
  expect(exitCode).toBe(0);
  const result = JSON.parse(stdout);
  expect(result).toMatchObject({ dtype: "q4", external: [], bytes: statSync(join(folder, "out.onnx")).size });
  expect(result.weights).toMatchObject([{ name: "W", form: "q4 block 64", bytesBefore: 24576 }]);
  expect(result.weights[0].bytesAfter).toBe((64 * 96) / 2 + 4 * 96 + 96); // codes, scales, zero points
  const { model, close } = await openOnnxFile(join(folder, "out.onnx"));
  const [node] = model.graph.nodes;
  expect(node).toMatchObject({ op: "MatMulNBits", inputs: ["x", "W_Q4", "W_scales", "W_zero_points"] });
  expect(node.attributes.accuracy_level).toMatchObject({ value: 1 });
  await close();
});

test("an output that exists is an error of the input, unless --force", async () => {
  expect((await quantize("--dtype", "q8")).exitCode).toBe(0);
  const again = await quantize("--dtype", "q4");
  expect(again).toMatchObject({ exitCode: 1, stderr: expect.stringContaining("--force") });
  const forced = await quantize("--dtype", "q4", "--eight-bits", "/head", "--force");
  expect(forced).toMatchObject({ exitCode: 0, stderr: expect.stringContaining("q8 block 32") });
});

test.each([
  ["a dtype nobody knows", ["--dtype", "q3"], 1, "q4f16"],
  ["no dtype", [], 2, "--dtype"],
  ["a level above 4", ["--dtype", "q4", "--accuracy-level", "5"], 2, "0 to 4"],
  ["a block size that no kernel runs", ["--dtype", "q4", "--block-size", "48"], 1, "16, 32, 64"],
  ["nothing left to quantize", ["--dtype", "q4", "--exclude", "*"], 1, "no weight of this graph"],
])("%s is refused", async (_, words, code, message) => {
  expect(await quantize(...words)).toMatchObject({ exitCode: code, stderr: expect.stringContaining(message) });
});
