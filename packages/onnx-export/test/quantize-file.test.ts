import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Initializer, lazyTensor, type OnnxModel, type OnnxNode } from "@loomweight/graph";
import { openOnnxFile, openSession, writeOnnxFile } from "@loomweight/graph/node";
import { fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { ExportDType } from "../src/index.ts";
import { quantizeFile } from "../src/node/index.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "loomweight-quantize-file-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Numbers from −0.5 to 0.5 that look random. */
function wave(shape: readonly number[], seed: number): Tensor<"float32"> {
  const count = shape.reduce((product, size) => product * size, 1);
  let state = seed;
  const data = Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32 - 0.5;
  });
  return fromData("float32", data, shape);
}

const node = (op: string, name: string, inputs: string[], outputs: string[]): OnnxNode => ({
  ...{ op, domain: "", name, inputs, outputs, attributes: {} },
});

/** x [batch, 32] → up [32, 64] → Relu → down [64, 32] → y, as any tool writes it. */
function network(): OnnxModel {
  const weights = { up: wave([32, 64], 1), down: wave([64, 32], 2) };
  return {
    irVersion: 10,
    opsets: { "": 21 },
    producer: { name: "test", version: "" },
    metadata: {},
    functions: [],
    graph: {
      name: "network",
      inputs: [{ name: "x", dtype: "float32", shape: ["batch", 32] }],
      outputs: [{ name: "y", dtype: "float32", shape: ["batch", 32] }],
      nodes: [
        node("MatMul", "/up", ["x", "up"], ["a"]),
        node("Relu", "/relu", ["a"], ["b"]),
        node("MatMul", "/down", ["b", "down"], ["y"]),
      ],
      initializers: new Map(
        Object.entries(weights).map(([name, tensor]) => [
          name,
          { name, dtype: tensor.dtype, shape: tensor.shape, data: lazyTensor(tensor) },
        ]),
      ),
      valueInfo: new Map(),
    },
  };
}

const at = (name: string) => join(folder, name);

async function outputOf(path: string): Promise<number[]> {
  const session = await openSession(path);
  try {
    const { y } = await session.run({ x: wave([2, 32], 5) });
    return Array.from(y.data as Float32Array);
  } finally {
    await session.close();
  }
}

describe("an ONNX file with external data in several files", () => {
  const closeness: readonly (readonly [ExportDType, number])[] = [
    ["fp32", 0],
    ["fp16", 0.003],
    ["q8", 0.04],
    ["int8", 0.04],
    ["uint8", 0.04],
    ["q4", 0.15],
    ["q4f16", 0.15],
    ["bnb4", 0.15],
  ];
  test.each(closeness)(
    "becomes %s, with external data of its own, and computes nearly the same",
    async (dtype, most) => {
      const layout = { externalData: true, maxExternalBytes: 8192 };
      await writeOnnxFile(at("in.onnx"), network(), layout);
      expect(readdirSync(folder).sort()).toEqual(["in.onnx", "in.onnx_data", "in.onnx_data_1"]);
      const { external, weights } = await quantizeFile(at("in.onnx"), at("out.onnx"), dtype, {
        externalData: true,
        accuracyLevel: 1,
      });
      expect(external).toEqual(["out.onnx_data"]);
      expect(weights.map(({ name }) => name)).toEqual(dtype.startsWith("fp") ? [] : ["up", "down"]);
      const [expected, found] = [await outputOf(at("in.onnx")), await outputOf(at("out.onnx"))];
      const largest = Math.max(...expected.map(Math.abs));
      const difference = Math.max(...expected.map((value, i) => Math.abs(value - found[i])));
      expect(difference / largest).toBeLessThanOrEqual(most);
    },
  );
});

test("chosen products are held in 8 bits beside others in 4", async () => {
  await writeOnnxFile(at("in.onnx"), network());
  const { weights } = await quantizeFile(at("in.onnx"), at("out.onnx"), "q4", { eightBits: ["*down*"] });
  expect(weights.map(({ form }) => form)).toEqual(["q4 block 32", "q8 block 32"]);
  const [up, down] = weights;
  expect(down.sqnr - up.sqnr).toBeGreaterThan(20); // four more bits
  const { model, close } = await openOnnxFile(at("out.onnx"));
  expect([...model.graph.initializers.keys()]).toEqual(["up_Q4", "up_scales", "down_Q8", "down_scales"]);
  await close();
});

test("what cannot be done is refused before anything is written", async () => {
  await writeOnnxFile(at("in.onnx"), network());
  await quantizeFile(at("in.onnx"), at("q4.onnx"), "q4");
  const before = readdirSync(folder);
  const refused = (output: string, dtype = "q4", input = "in.onnx") =>
    expect(quantizeFile(at(input), at(output), dtype as ExportDType)).rejects;
  await refused("in.onnx").toMatchObject({ code: "SAME_FILE" });
  await refused("q4.onnx").toMatchObject({ code: "OUTPUT_EXISTS" });
  await refused("none/x.onnx").toMatchObject({ code: "MISSING_FOLDER" });
  await refused("x.onnx", "q5").toMatchObject({ code: "INVALID_OPTION" });
  await refused("x.onnx", "q4", "q4.onnx").toMatchObject({ code: "NOTHING_QUANTIZED" });
  await refused("x.onnx", "q4", "missing.onnx").toMatchObject({ code: "MISSING_FILE" });
  await refused("x.onnx", "q4", ".").toMatchObject({
    code: "NOT_AN_ONNX_FILE",
    message: expect.stringContaining("this is a folder"),
  });
  await refused("x.onnx", "q4", "model.safetensors").toMatchObject({
    code: "NOT_AN_ONNX_FILE",
    message: expect.stringContaining("loomweight export"),
  });
  expect(readdirSync(folder)).toEqual(before);
});

describe("a model with local functions", () => {
  const bytesField = (number: number, value: Uint8Array | string): Buffer => {
    const bytes = Buffer.from(value as string);
    const size = bytes.length < 128 ? [bytes.length] : [(bytes.length & 127) | 128, bytes.length >> 7];
    return Buffer.concat([Buffer.from([number * 8 + 2, ...size]), bytes]);
  };
  const innerNode = (op: string, inputs: readonly string[], output: string, ...attributes: Uint8Array[]): Buffer =>
    bytesField(
      7,
      Buffer.concat([
        ...inputs.map((name) => bytesField(1, name)),
        bytesField(2, output),
        bytesField(4, op),
        ...attributes.map((each) => bytesField(5, each)),
      ]),
    );
  const opset21 = bytesField(9, Buffer.from([0x10, 21]));

  /** up by a function that is given its weight, down by one that holds it in a Constant. */
  function withFunctions(): OnnxModel {
    const model = network();
    const down = wave([64, 2], 2);
    const values = new Uint8Array(down.data.buffer);
    const tensor = Buffer.concat([Buffer.from([0x08, 64, 0x08, 2, 0x10, 1]), bytesField(9, values)]);
    const value = Buffer.concat([bytesField(1, "value"), bytesField(5, tensor), Buffer.from([0xa0, 1, 4])]);
    const given = [
      ...[bytesField(1, "Linear"), bytesField(4, "x"), bytesField(4, "w"), bytesField(5, "y")],
      ...[innerNode("MatMul", ["x", "w"], "h"), innerNode("Relu", ["h"], "y"), opset21, bytesField(10, "local")],
    ];
    const held = [
      ...[bytesField(1, "Down"), bytesField(4, "x"), bytesField(5, "y")],
      ...[
        innerNode("Constant", [], "w", value),
        innerNode("MatMul", ["x", "w"], "y"),
        opset21,
        bytesField(10, "local"),
      ],
    ];
    const call = (op: string, inputs: string[], output: string) => ({
      ...node(op, `/${op}`, inputs, [output]),
      domain: "local",
    });
    const up = model.graph.initializers.get("up") as Initializer;
    return {
      ...model,
      opsets: { "": 21, local: 1 },
      functions: [
        { name: "Linear", domain: "local", bytes: Buffer.concat(given) },
        { name: "Down", domain: "local", bytes: Buffer.concat(held) },
      ],
      graph: {
        ...model.graph,
        outputs: [{ name: "y", dtype: "float32", shape: ["batch", 2] }],
        nodes: [call("Linear", ["x", "up"], "b"), call("Down", ["b"], "y")],
        initializers: new Map([["up", up]]),
      },
    };
  }

  test.each<readonly [ExportDType, number, readonly string[]]>([
    ["fp32", 0, []],
    ["fp16", 0.003, []],
    ["q8", 0.04, ["up", "/Down/w"]],
    ["q4", 0.15, ["up", "/Down/w"]],
  ])("%s codes what they are given and what they hold", async (dtype, most, names) => {
    await writeOnnxFile(at("in.onnx"), withFunctions());
    const { weights } = await quantizeFile(at("in.onnx"), at("out.onnx"), dtype, { accuracyLevel: 1 });
    expect(weights.map(({ name }) => name)).toEqual(names);
    const [expected, found] = [await outputOf(at("in.onnx")), await outputOf(at("out.onnx"))];
    const largest = Math.max(...expected.map(Math.abs));
    expect(largest).toBeGreaterThan(0.5);
    const difference = Math.max(...expected.map((value, i) => Math.abs(value - found[i])));
    expect(difference / largest).toBeLessThanOrEqual(most);
    const { model, close } = await openOnnxFile(at("out.onnx"));
    expect(model.functions.length).toBe(dtype === "fp32" ? 2 : 0);
    await close();
  });
});

describe("hostile files end in typed errors, and leave nothing", () => {
  /** `network()` as bytes, its weights in the file or beside it. */
  async function written(externalData: boolean): Promise<Buffer> {
    await writeOnnxFile(at("in.onnx"), network(), { externalData });
    return readFileSync(at("in.onnx"));
  }
  const codeOf = async (dtype: ExportDType = "q4"): Promise<string> => {
    const before = readdirSync(folder);
    const code = await quantizeFile(at("in.onnx"), at("out.onnx"), dtype).then(
      () => "written",
      (error: unknown) => (error instanceof LoomweightError ? error.code : `not typed: ${error}`),
    );
    if (code !== "written") expect(readdirSync(folder), code).toEqual(before);
    return code;
  };

  test("cut anywhere", async () => {
    const bytes = await written(false);
    for (const share of [0, 0.001, 0.01, 0.3, 0.7, 0.999]) {
      writeFileSync(at("in.onnx"), bytes.subarray(0, Math.floor(share * bytes.length)));
      expect(await codeOf(), `${share}`).not.toMatch(/^written|^not typed/);
    }
  });

  test("external data that is missing, short, or outside the folder", async () => {
    const bytes = await written(true);
    const data = readFileSync(at("in.onnx_data"));
    const found: string[] = [];
    truncateSync(at("in.onnx_data"), data.length - 4096);
    found.push(await codeOf());
    rmSync(at("in.onnx_data"));
    found.push(await codeOf());
    // the same length, so that the message around it stays whole
    writeFileSync(
      at("in.onnx"),
      Buffer.from(bytes.toString("latin1").replaceAll("in.onnx_data", "../../../etc"), "latin1"),
    );
    found.push(await codeOf());
    for (const code of found) expect(code).not.toMatch(/^written|^not typed/);
  });

  test.each([
    ["absurd", [2 ** 40, 2 ** 40]],
    ["negative", [-32, 64]],
    ["not those of the values", [32, 65]],
  ])("sizes that are %s", async (_, shape) => {
    const model = network();
    const up = model.graph.initializers.get("up") as Initializer;
    const initializers = new Map([...model.graph.initializers, ["up", { ...up, shape }] as const]);
    const made = await writeOnnxFile(at("in.onnx"), { ...model, graph: { ...model.graph, initializers } }).then(
      () => "written",
      (error: unknown) => (error instanceof LoomweightError ? error.code : `not typed: ${error}`),
    );
    // our own writer refuses it, or the reader does
    expect(made === "written" ? await codeOf() : made).not.toMatch(/^written|^not typed/);
  });
});

test("products inside the bodies of If are left as they are", async () => {
  const model = network();
  const down = { ...model.graph, name: "body", nodes: [node("MatMul", "/inner", ["b", "down"], ["y"])], inputs: [] };
  const body = {
    ...down,
    initializers: new Map(),
    outputs: [{ name: "y", dtype: "float32" as const, shape: undefined }],
  };
  const yes = {
    name: "yes",
    dtype: "bool" as const,
    shape: [],
    data: lazyTensor(fromData("bool", Uint8Array.of(1), [])),
  };
  const branch = { ...node("If", "/if", ["yes"], ["y"]), attributes: {} };
  const graphs = { type: "graph" as const, value: body };
  const nodes = [
    ...model.graph.nodes.slice(0, 2),
    { ...branch, attributes: { then_branch: graphs, else_branch: graphs } },
  ];
  const initializers = new Map([...model.graph.initializers, ["yes", yes] as const]);
  await writeOnnxFile(at("in.onnx"), { ...model, graph: { ...model.graph, nodes, initializers } });
  const { weights } = await quantizeFile(at("in.onnx"), at("out.onnx"), "q4", { accuracyLevel: 1 });
  expect(weights.map(({ name }) => name)).toEqual(["up"]);
  const [expected, found] = [await outputOf(at("in.onnx")), await outputOf(at("out.onnx"))];
  const largest = Math.max(...expected.map(Math.abs));
  expect(Math.max(...expected.map((value, i) => Math.abs(value - found[i]))) / largest).toBeLessThan(0.15);
});
