import { bytesSource } from "@loomweight/checkpoint";
import { createRandom, LoomweightError, tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import {
  assemble,
  encodeOnnx,
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
