import { join } from "node:path";
import { openOnnxFile } from "@loomweight/graph/node";
import { cast, fromData, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { convertToFloat16, type Float16Options, toFloat16Clamped } from "../src/index.ts";
import { expectNodes, expectOutput, type RecordedNode, recordedSet, runInThread, testCases } from "./recorded.ts";

interface Float16Case {
  readonly name: string;
  readonly model: string;
  readonly call: string;
  readonly nodes: readonly RecordedNode[];
  readonly initializers: Readonly<Record<string, string>>;
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly x: string;
  /** Absent where the graph's own border is float16. */
  readonly output?: string;
}

const set = recordedSet<Float16Case>("float16");
const onnxNames: Readonly<Record<string, string>> = { float32: "FLOAT", float16: "FLOAT16" };

/** `convert_float_to_float16({'keep_io_types': ['x'], …})` as options of ours. */
function optionsOf(call: string): Float16Options {
  const json = call.slice(call.indexOf("{"), call.lastIndexOf("}") + 1);
  const given = JSON.parse(json.replaceAll("'", '"').replaceAll("True", "true").replaceAll("False", "false"));
  return { keepIoTypes: given.keep_io_types, blockOps: given.op_block_list, blockNodes: given.node_block_list };
}

describe("float16 models", () => {
  testCases(set, async (recorded) => {
    const opened = await openOnnxFile(join(set.folder, recorded.model));
    const options = optionsOf(recorded.call);
    const model = convertToFloat16(opened.model, options);
    expectNodes(model, recorded.nodes);
    const { initializers, inputs, outputs } = model.graph;
    const named = (list: Iterable<{ name: string; dtype: string | undefined }>) =>
      Object.fromEntries([...list].map(({ name, dtype }) => [name, onnxNames[dtype ?? ""]]));
    expect(named(initializers.values())).toEqual(recorded.initializers);
    expect(named(inputs)).toEqual(recorded.inputs);
    expect(named(outputs)).toEqual(recorded.outputs);
    for (const each of initializers.values()) {
      const source = (await opened.model.graph.initializers.get(each.name)?.data.read()) as Tensor;
      const found = await each.data.read();
      expect(found).toEqual(each.dtype === "float16" ? toFloat16Clamped(source) : source);
    }
    expect(convertToFloat16(model, options).graph.nodes).toEqual(model.graph.nodes);
    // the same graph on the same engine, but kernels may be chosen by processor: a float16 step and a half
    if (recorded.output !== undefined) {
      const x = set.tensor(recorded.x);
      const given = recorded.inputs.x === "FLOAT16" ? cast(x, "float16") : x;
      expectOutput(await runInThread(model, { x: given }), set.tensor(recorded.output), 1.5e-3);
    }
    await opened.close();
  });
});

test("float16 values are the recorded ones", (context) => {
  if (set.folder === "") context.skip("the fixtures hold no area quant");
  const values = set.tensor("values");
  const found = toFloat16Clamped(values).data;
  const wanted = set.tensor("tool").data as Uint16Array;
  const plain = (codes: Uint16Array) => Array.from(codes, (code) => ((code & 0x7fff) > 0x7c00 ? "NaN" : code));
  expect(plain(found)).toEqual(plain(wanted));
  expect(toFloat16Clamped(fromData("float16", found, values.shape)).data).toBe(found);
});
