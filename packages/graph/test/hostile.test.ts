import { bytesSource } from "@loomweight/checkpoint";
import { createRandom, LoomweightError, tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import {
  assemble,
  encodeOnnx,
  type GraphValue,
  inferAllTypes,
  inferTypes,
  initializer,
  input,
  int,
  lazyTensor,
  matMul,
  type OnnxModel,
  onnxNode,
  parameter,
  readOnnx,
  relu,
  valuesOf,
} from "../src/index.ts";
import {
  bytesField,
  intField,
  type Message,
  message,
  messageField,
  textField,
  varint,
} from "../src/protobuf/writer.ts";
import { hasNodeCases, readNodeCases } from "./node-cases.ts";

const flat = ({ pieces }: Message): Uint8Array => Uint8Array.from(Buffer.concat(pieces as Uint8Array[]));
const open = (bytes: Uint8Array) => readOnnx(bytesSource(bytes, "bad.onnx"));
const graph = (...fields: Parameters<typeof message>[0]) => flat(message([messageField(7, message(fields))]));
const weight = (...fields: Parameters<typeof message>[0]) =>
  graph(messageField(5, message([textField(8, "w"), ...fields])));

async function valid(): Promise<Uint8Array> {
  const x = input("x", "float32", ["n", 4]);
  const w = parameter(
    "w",
    lazyTensor(
      tensor(
        Array.from({ length: 400 }, (_, i) => i),
        [4, 100],
      ),
    ),
  );
  return encodeOnnx(assemble({ name: "g", inputs: [x], outputs: { y: relu(matMul(x, w)) }, metadata: { a: "b" } }));
}

const refused: Record<string, [Uint8Array, RegExp]> = {
  "an empty file": [new Uint8Array(), /holds no graph/],
  text: [new TextEncoder().encode("<!DOCTYPE html><html></html>"), /wire type|wrong wire type|cut off|claims more/],
  "a number that is cut off": [Uint8Array.of(0x08, 0x80), /cut off/],
  "a number of more than ten bytes": [Uint8Array.of(0x08, ...new Array(11).fill(0x80), 1), /cut off|ten bytes/],
  "a length beyond the file": [Uint8Array.of(0x3a, 0xff, 0xff, 0x03), /claims more bytes/],
  "an absurd length": [Uint8Array.of(0x3a, ...varint(2n ** 63n)), /absurdly large/],
  "field number 0": [Uint8Array.of(0x02, 0x00), /no protobuf field 0/],
  "a group": [Uint8Array.of(0x0b, 0x0c), /wire type 3/],
  "a node whose name lies beyond it": [graph(bytesField(1, Uint8Array.of(0x1a, 0x7f, 0x41))), /claims more bytes/],
  "a node name of the wrong wire type": [graph(messageField(1, message([intField(3, 1)]))), /wrong wire type/],
  "an attribute given twice": [
    graph(
      messageField(
        1,
        message([
          textField(4, "Op"),
          messageField(5, message([textField(1, "a")])),
          messageField(5, message([textField(1, "a")])),
        ]),
      ),
    ),
    /attribute "a" twice/,
  ],
  "two initializers of one name": [
    graph(
      ...[1, 2].map(() =>
        messageField(5, message([intField(2, 1), textField(8, "w"), bytesField(9, new Uint8Array(4))])),
      ),
    ),
    /two initializers are named "w"/,
  ],
  "a negative size": [weight(intField(1, -1), intField(2, 1)), /impossible shape/],
  "sizes whose product overflows": [
    weight(intField(1, 2 ** 40), intField(1, 2 ** 40), intField(2, 1)),
    /impossible shape/,
  ],
  "sizes hidden behind a zero": [
    weight(intField(1, 0), intField(1, 2 ** 50), intField(1, 2 ** 50), intField(2, 1)),
    /impossible shape/,
  ],
  "too many axes": [weight(...new Array(65).fill(intField(1, 1)), intField(2, 1)), /impossible shape/],
  "fewer bytes than the shape": [
    weight(intField(1, 200), intField(2, 1), bytesField(9, new Uint8Array(796))),
    /wrong number of bytes.*expected 800, found 796/,
  ],
  "fewer small bytes than the shape": [
    weight(intField(1, 2), intField(2, 1), bytesField(9, new Uint8Array(4))),
    /wrong number of bytes/,
  ],
  "a huge shape without data": [weight(intField(1, 2 ** 33), intField(2, 1)), /many values as its shape/],
  "strings that are fewer than the shape": [
    weight(intField(1, 2 ** 33), intField(2, 8), bytesField(6, new Uint8Array(1))),
    /many values as its shape/,
  ],
  "an unknown element type": [weight(intField(1, 1), intField(2, 77)), /element type 77 is not supported/],
  "a segmented tensor": [weight(messageField(3, message([intField(1, 1)]))), /segments are not supported/],
  "external data without a file": [weight(intField(1, 1), intField(2, 1), intField(14, 1)), /names no file/],
  "external data at a negative place": [
    weight(
      intField(1, 1),
      intField(2, 1),
      messageField(13, message([textField(1, "location"), textField(2, "d")])),
      messageField(13, message([textField(1, "offset"), textField(2, "-4")])),
      intField(14, 1),
    ),
    /impossible offset/,
  ],
  "external data of the wrong length": [
    weight(
      intField(1, 2),
      intField(2, 1),
      messageField(13, message([textField(1, "location"), textField(2, "d")])),
      messageField(13, message([textField(1, "length"), textField(2, "4")])),
      intField(14, 1),
    ),
    /wrong length.*expected 8, found 4/,
  ],
};

for (const [what, [bytes, problem]] of Object.entries(refused)) {
  test(`${what} is refused by name`, async () => {
    const fault = await open(bytes).catch((cause: unknown) => cause);
    expect(fault).toBeInstanceOf(LoomweightError);
    expect((fault as LoomweightError).message).toMatch(problem);
    expect((fault as LoomweightError).message).toContain("bad.onnx");
  });
}

test("subgraphs nested without end are refused before the stack ends", async () => {
  let body: Message = message([textField(2, "leaf")]);
  for (let i = 0; i < 400; i++) {
    const attribute = message([textField(1, "body"), messageField(6, body), intField(20, 5)]);
    body = message([messageField(1, message([textField(4, "If"), messageField(5, attribute)]))]);
  }
  await expect(open(flat(message([messageField(7, body)])))).rejects.toThrow(/nested more than 32 deep/);
});

test("external data is checked against the file it lies in", async () => {
  const entry = (key: string, value: string) => messageField(13, message([textField(1, key), textField(2, value)]));
  const bytes = weight(intField(1, 4), intField(2, 1), entry("location", "d"), entry("offset", "8"), intField(14, 1));
  const model = await readOnnx(bytesSource(bytes, "bad.onnx"), {
    external: async (name) => bytesSource(new Uint8Array(20), name),
  });
  await expect(model.graph.initializers.get("w")?.data.read()).rejects.toThrow(
    /beyond the end.*expected at least 24 bytes, found 20/,
  );
});

test("names like __proto__ are names", async () => {
  const attribute = message([textField(1, "__proto__"), intField(3, 7), intField(20, 2)]);
  const bytes = flat(
    message([
      messageField(7, message([messageField(1, message([textField(4, "Op"), messageField(5, attribute)]))])),
      messageField(14, message([textField(1, "__proto__"), textField(2, "x")])),
    ]),
  );
  const model = await open(bytes);
  expect(Object.entries(model.metadata)).toEqual([["__proto__", "x"]]);
  expect(Object.entries(model.graph.nodes[0].attributes)).toEqual([["__proto__", { type: "int", value: 7 }]]);
  const again = await open(await encodeOnnx(model));
  expect(Object.entries(again.graph.nodes[0].attributes)).toEqual([["__proto__", { type: "int", value: 7 }]]);
});

test("a damaged file gives a named error or a model, never anything else", { timeout: 120_000 }, async () => {
  const good = await valid();
  const random = createRandom(7, "hostile");
  const draw = (index: number, below: number) => Math.floor(random.uniform(index) * below);
  for (let round = 0; round < 1000; round++) {
    const bytes = good.slice(0, round % 3 === 0 ? draw(4 * round, good.length) : good.length);
    for (let i = 0; i <= round % 4 && bytes.length > 0; i++)
      bytes[draw(4 * round + i + 1, bytes.length)] = draw(9e6 + 4 * round + i, 256);
    try {
      const model = await open(bytes);
      for (const each of model.graph.initializers.values()) await each.data.read();
      await inferTypes(model);
      await encodeOnnx(model);
    } catch (cause) {
      if (!(cause instanceof LoomweightError)) throw new Error(`round ${round}`, { cause });
    }
  }
});

test("absurd ranks, counts and products in nodes leave types open instead of filling the memory", async () => {
  const types = (
    inputs: readonly (readonly [string, "int64" | "float32", readonly (number | string)[]])[],
    nodes: OnnxModel["graph"]["nodes"],
  ) =>
    inferTypes({
      irVersion: 10,
      producer: { name: "", version: "" },
      opsets: { "": 21 },
      functions: [],
      metadata: {},
      graph: {
        name: "g",
        nodes,
        inputs: inputs.map(([name, dtype, shape]) => ({ name, dtype, shape })),
        outputs: [],
        initializers: new Map([["short", initializer("short", tensor([2], [1], "int64"))]]),
        valueInfo: new Map(),
      },
    });
  const x = ["x", "float32", ["n", 4]] as const;
  const long = ["s", "int64", [2 ** 40]] as const;
  const found = await types(
    [x, long],
    [
      onnxNode("ConstantOfShape", ["s"], ["a"]),
      onnxNode("Reshape", ["x", "s"], ["b"]),
      onnxNode("Expand", ["x", "s"], ["c"]),
      onnxNode("Split", ["x"], ["d"], { attributes: { num_outputs: int(2 ** 40) } }),
      onnxNode("Slice", ["x", "s", "s"], ["e"]),
      onnxNode("Tile", ["x", "short"], ["f"]),
      onnxNode("MaxPool", ["x"], ["g"], { attributes: { kernel_shape: { type: "ints", value: [2 ** 40] } } }),
    ],
  );
  expect([..."abcdefg"].filter((name) => found.has(name))).toEqual([]);
  // A symbol squared sixty times.
  const squares = Array.from({ length: 60 }, (_, i) =>
    onnxNode("Mul", [i === 0 ? "size" : `q${i - 1}`, i === 0 ? "size" : `q${i - 1}`], [`q${i}`]),
  );
  const grown = await types([x], [onnxNode("Size", ["x"], ["size"]), ...squares]);
  expect(grown.get("q59")?.known).toEqual(["?"]);
});

const bare = (changes: Partial<OnnxModel["graph"]>, opset = 21): OnnxModel => ({
  irVersion: 10,
  producer: { name: "", version: "" },
  opsets: { "": opset },
  functions: [],
  metadata: {},
  graph: {
    name: "g",
    nodes: [],
    inputs: [{ name: "x", dtype: "float32", shape: [2, 3] }],
    outputs: [{ name: "y", dtype: undefined, shape: undefined }],
    initializers: new Map(),
    valueInfo: new Map(),
    ...changes,
  },
});

const impossible: Record<string, [OnnxModel, string, RegExp]> = {
  "shapes that do not fit": [
    bare({
      nodes: [onnxNode("MatMul", ["x", "w"], ["y"], { name: "bad" })],
      initializers: new Map([["w", initializer("w", tensor([1, 2], [2, 1]))]]),
    }),
    "SHAPE_MISMATCH",
    /node "bad".*3 columns do not meet 2 rows/,
  ],
  "dtypes that do not go together": [
    bare({
      nodes: [onnxNode("Add", ["x", "w"], ["y"], { name: "bad" })],
      initializers: new Map([["w", initializer("w", tensor([1], [1], "int64"))]]),
    }),
    "DTYPE_MISMATCH",
    /node "bad".*expected float32, found int64/,
  ],
  "a cycle": [
    bare({
      nodes: [onnxNode("Add", ["x", "b"], ["a"]), onnxNode("Relu", ["a"], ["b"]), onnxNode("Neg", ["b"], ["y"])],
    }),
    "INVALID_GRAPH",
    /cycle through/,
  ],
  "nodes out of order": [
    bare({ nodes: [onnxNode("Relu", ["a"], ["y"]), onnxNode("Neg", ["x"], ["a"])] }),
    "INVALID_GRAPH",
    /used before it is made.*sortNodes/,
  ],
  "two values of one name": [
    bare({ nodes: [onnxNode("Relu", ["x"], ["y"]), onnxNode("Neg", ["x"], ["y"])] }),
    "INVALID_GRAPH",
    /two values are named "y"/,
  ],
  "two inputs of one name": [
    bare({ inputs: [1, 2].map(() => ({ name: "x", dtype: "float32" as const, shape: [] })) }),
    "INVALID_GRAPH",
    /two inputs are named "x"/,
  ],
  "a value that nothing makes": [
    bare({ nodes: [onnxNode("Relu", ["z"], ["y"])] }),
    "INVALID_GRAPH",
    /nothing makes.*"z"/,
  ],
  "an output that nothing makes": [bare({ nodes: [onnxNode("Relu", ["x"], ["z"])] }), "INVALID_GRAPH", /output "y"/],
  "a domain without an opset": [
    bare({ nodes: [onnxNode("Relu", ["x"], ["y"], { domain: "mine" })] }),
    "INVALID_GRAPH",
    /imports no opset/,
  ],
  "an opset of the future": [bare({ nodes: [onnxNode("Relu", ["x"], ["y"])] }, 2 ** 40), "UNSUPPORTED_OPSET", /opset/],
  "no opset at all": [bare({ nodes: [onnxNode("Relu", ["x"], ["y"])] }, 0), "UNSUPPORTED_OPSET", /opset 0/],
  "too few operands": [bare({ nodes: [onnxNode("Add", ["x"], ["y"])] }), "INVALID_NODE", /expected 2, found 1/],
  "an attribute of the wrong type": [
    bare({ nodes: [onnxNode("Softmax", ["x"], ["y"], { attributes: { axis: { type: "float", value: 1 } } })] }),
    "INVALID_ATTRIBUTE",
    /"axis" of Softmax has the wrong type/,
  ],
  "an axis that is not there": [
    bare({ nodes: [onnxNode("Softmax", ["x"], ["y"], { attributes: { axis: int(7) } })] }),
    "INVALID_ATTRIBUTE",
    /no axis 7/,
  ],
  "a range that never ends": [
    bare({
      nodes: [onnxNode("Range", ["a", "b", "c"], ["y"])],
      initializers: new Map(
        Object.entries({ a: 0, b: 1, c: 0 }).map(([name, value]) => [name, initializer(name, tensor([value], []))]),
      ),
    }),
    "",
    /Range/,
  ],
};

for (const [what, [model, code, problem]] of Object.entries(impossible)) {
  test(`a model with ${what} is refused by name before anything runs`, async () => {
    const fault = await valuesOf(model).catch((cause: unknown) => cause);
    expect(fault).toBeInstanceOf(LoomweightError);
    expect((fault as LoomweightError).message).toMatch(problem);
    if (code !== "") expect((fault as LoomweightError).code).toBe(code);
  });
}

test("a chain of a hundred thousand nodes is imported without overflowing the stack", {
  timeout: 120_000,
}, async () => {
  const count = 100_000;
  const nodes = Array.from({ length: count }, (_, i) =>
    onnxNode("Relu", [i === 0 ? "x" : `h${i - 1}`], [i === count - 1 ? "y" : `h${i}`]),
  );
  const { outputs } = await valuesOf(bare({ nodes }));
  expect(outputs.y.shape).toEqual([2, 3]);
});

test("constants that would grow without end are left to the runtime", async () => {
  const constant = (values: number[]) => tensor(values, [values.length], "int64");
  const model = bare({
    nodes: [
      onnxNode("ConstantOfShape", ["s"], ["a"]),
      onnxNode("Tile", ["a", "s"], ["b"]),
      onnxNode("Add", ["b", "b"], ["y"]),
    ],
    initializers: new Map([["s", initializer("s", constant([1 << 20, 1 << 20]))]]),
  });
  const started = performance.now();
  const { outputs } = await valuesOf(model);
  expect(outputs.y.shape).toEqual([2 ** 40, 2 ** 40]);
  expect(performance.now() - started).toBeLessThan(2000);
});

test.skipIf(!hasNodeCases())(
  "damaged models of every op give named errors or a trace",
  { timeout: 120_000 },
  async () => {
    const cases = readNodeCases();
    const random = createRandom(11, "hostile-nodes");
    let drawn = 0;
    const draw = (below: number) => Math.floor(random.uniform(drawn++) * below);
    for (let round = 0; round < 1500; round++) {
      const { name, model } = cases[draw(cases.length)];
      const bytes = model.slice();
      for (let i = draw(3); i >= 0; i--) bytes[draw(bytes.length)] = draw(3) === 0 ? draw(256) : draw(12);
      try {
        const read = await open(bytes);
        await inferAllTypes(read);
        const { outputs, inputs, opsets } = await valuesOf(read);
        await encodeOnnx(assemble({ name: "g", inputs: Object.values(inputs) as GraphValue[], outputs, opsets }));
      } catch (cause) {
        if (!(cause instanceof LoomweightError)) throw new Error(`round ${round}: ${name}`, { cause });
      }
    }
  },
);
