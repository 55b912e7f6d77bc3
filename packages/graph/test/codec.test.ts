import { bytesSource } from "@loomweight/checkpoint";
import { type DType, elementCount, equal, fromData, type Tensor, tensor } from "@loomweight/tensor";
import * as ort from "onnxruntime-node";
import { expect, test } from "vitest";
import {
  type Attributes,
  assemble,
  cast,
  encodeOnnx,
  float,
  input,
  int,
  type LazyTensor,
  lazyTensor,
  node,
  type OnnxModel,
  parameter,
  readOnnx,
  relu,
  text,
  writeOnnx,
} from "../src/index.ts";
import { bytesField, intField, type Message, message, messageField, textField } from "../src/protobuf/writer.ts";

const flat = ({ pieces }: Message): Uint8Array => Buffer.concat(pieces as Uint8Array[]);
const x = input("x", "float32", ["n"]);

/** A model whose initializers are these tensors, all of them used. */
function modelOf(tensors: Readonly<Record<string, Tensor>>, attributes: Attributes = {}): OnnxModel {
  const weights = Object.entries(tensors).map(([name, each]) => parameter(name, lazyTensor(each)));
  const [y] = node("Everything", [x, ...weights], {
    domain: "test",
    attributes,
    outputs: [{ dtype: "float32", shape: ["n"] }],
  });
  return assemble({ name: "g", inputs: [x], outputs: { y } });
}

const every: [DType, number][] = [
  ["float32", 3],
  ["float64", 3],
  ["float16", 3],
  ["bfloat16", 3],
  ["float8_e4m3fn", 3],
  ["float8_e5m2", 3],
  ["int8", 3],
  ["uint8", 3],
  ["int16", 3],
  ["uint16", 3],
  ["int32", 3],
  ["uint32", 3],
  ["int64", 3],
  ["uint64", 3],
  ["bool", 3],
  ["int4", 3],
  ["uint4", 3],
  ["int4", 4],
  ["complex64", 3],
  ["float4_e2m1fn", 4],
];

function example(dtype: DType, count: number): Tensor {
  const codes = Array.from({ length: 2 * count }, (_, i) => (i * 5 + 1) % 8);
  if (dtype === "int64" || dtype === "uint64") {
    const values = codes.slice(0, count).map((code) => BigInt(code) * 2n ** 60n + 1n);
    return dtype === "int64"
      ? fromData(
          "int64",
          BigInt64Array.from(values, (value) => BigInt.asIntN(64, value)),
          [count],
        )
      : fromData(
          "uint64",
          BigUint64Array.from(values, (value) => BigInt.asUintN(64, value)),
          [count],
        );
  }
  if (dtype === "complex64") return fromData("complex64", Float32Array.from(codes), [count]);
  if (dtype === "float4_e2m1fn") return fromData("float4_e2m1fn", Uint8Array.of(0x21, 0x43), [count]);
  if (dtype === "bool") return fromData("bool", Uint8Array.of(1, 0, 1), [count]);
  const zero = tensor(codes.slice(0, count), [count], "float64");
  return dtype === "float64" ? zero : cast(zero, dtype);
}

test("every dtype comes back as it was", async () => {
  for (const [dtype, count] of every) {
    const bytes = await encodeOnnx(modelOf({ w: example(dtype, count) }));
    const { graph } = await readOnnx(bytesSource(bytes, "m.onnx"));
    const back = graph.initializers.get("w");
    expect(back).toMatchObject({ dtype, shape: [count] });
    expect(equal((await back?.data.read()) as Tensor, example(dtype, count)), dtype).toBe(true);
  }
});

test("strings, scalars and empty tensors come back as they were", async () => {
  const tensors = {
    texts: fromData<DType>("string", ["", "a", "ünï"], [3]),
    scalar: fromData<DType>("float32", Float32Array.of(1.5), []),
    empty: fromData<DType>("float32", new Float32Array(), [0, 3]),
  };
  const back = await readOnnx(bytesSource(await encodeOnnx(modelOf(tensors)), "m.onnx"));
  for (const [name, each] of Object.entries(tensors)) {
    expect(await back.graph.initializers.get(name)?.data.read()).toEqual(each);
  }
});

test("every kind of attribute comes back, and the model is written again byte for byte", async () => {
  // Names of its own: a body must not hide those around it.
  const inner = input("inner", "float32", [2]);
  const body = assemble({ name: "body", inputs: [inner], outputs: { innerY: relu(inner) } }).graph;
  const attributes: Attributes = {
    i: int(-3),
    big: int(2n ** 62n),
    f: float(0.5),
    s: text("tanh"),
    empty: text(""),
    is: { type: "ints", value: [1, -2, 2n ** 60n] },
    fs: { type: "floats", value: [1, 0.25] },
    ss: { type: "strings", value: ["a", ""] },
    t: { type: "tensor", value: example("int4", 3), tensorName: "value" },
    ts: { type: "tensors", value: [example("float32", 2), example("bool", 3)] },
    g: { type: "graph", value: body },
    gs: { type: "graphs", value: [body, body] },
  };
  const bytes = await encodeOnnx(modelOf({}, attributes));
  const back = await readOnnx(bytesSource(bytes, "m.onnx"));
  const found = back.graph.nodes[0].attributes;
  expect({ ...found, g: 0, gs: 0 }).toEqual({ ...attributes, g: 0, gs: 0 });
  expect(found.g.type === "graph" && found.g.value.nodes).toEqual(body.nodes);
  expect(Buffer.compare(await encodeOnnx(back), bytes)).toBe(0);
});

test("fields without a name here are kept at every level, byte for byte", async () => {
  const extra = (number: number) => bytesField(number, Uint8Array.of(1, 2, number));
  const attribute = message([textField(1, "axis"), intField(3, 2), textField(13, "why"), intField(20, 2)]);
  const bytes = flat(
    message([
      intField(1, 10),
      textField(2, "someone"),
      messageField(
        7,
        message([
          messageField(
            1,
            message([textField(1, "x"), textField(2, "y"), textField(4, "Op"), messageField(5, attribute), extra(9)]),
          ),
          textField(2, "g"),
          messageField(
            5,
            message([intField(1, 1), intField(2, 1), textField(8, "w"), bytesField(9, new Uint8Array(4)), extra(16)]),
          ),
          messageField(
            11,
            message([textField(1, "x"), messageField(2, message([messageField(4, message([]))])), extra(4)]),
          ),
          messageField(12, message([textField(1, "y")])),
          extra(14),
          extra(15),
          extra(99),
        ]),
      ),
      messageField(8, message([textField(1, ""), intField(2, 21)])),
      extra(20),
      messageField(25, message([textField(1, "Local"), textField(10, "mine"), extra(7)])),
      extra(1000),
    ]),
  );
  const model = await readOnnx(bytesSource(bytes, "m.onnx"));
  expect(model.functions[0]).toMatchObject({ name: "Local", domain: "mine" });
  expect(model.graph.nodes[0].attributes.axis).toMatchObject({ type: "int", value: 2 });
  expect(Buffer.compare(await encodeOnnx(model), bytes)).toBe(0);
});

test("values in the older typed fields are read", async () => {
  const packed = (values: number[]) => Uint8Array.from(values);
  const file = (fields: Parameters<typeof message>[0]) =>
    flat(message([messageField(7, message([messageField(5, message([textField(8, "w"), ...fields]))]))]));
  const read = async (fields: Parameters<typeof message>[0]) => {
    const { graph } = await readOnnx(bytesSource(file(fields), "m.onnx"));
    const found = (await graph.initializers.get("w")?.data.read()) as Tensor;
    return [...(found.data as Iterable<number | bigint>)];
  };
  const floats = new Uint8Array(Float32Array.of(1.5, -2).buffer);
  expect(await read([intField(1, 2), intField(2, 1), bytesField(4, floats)])).toEqual([1.5, -2]);
  expect(await read([intField(1, 2), intField(2, 7), intField(7, -5), intField(7, 9)])).toEqual([-5n, 9n]);
  expect(await read([intField(1, 3), intField(2, 3), intField(5, -1), bytesField(5, packed([2, 3]))])).toEqual([
    -1, 2, 3,
  ]);
  expect(await read([intField(1, 2), intField(2, 10), bytesField(5, packed([0x80, 0x78, 1]))])).toEqual([0x3c00, 1]);
  expect(await read([intField(1, 3), intField(2, 22), bytesField(5, packed([0x2f, 0x01]))])).toEqual([-1, 2, 1]);
  expect(
    await read([intField(1, 1), intField(2, 11), bytesField(10, new Uint8Array(Float64Array.of(0.1).buffer))]),
  ).toEqual([0.1]);
  // Long fields are left in the file until they are read.
  const many = new Uint8Array(Float32Array.from({ length: 500 }, (_, i) => i).buffer);
  expect((await read([intField(1, 500), intField(2, 1), bytesField(4, many)]))[499]).toBe(499);
});

test("an opened file reads only the weights that are asked for", async () => {
  const tensors = Object.fromEntries(
    Array.from({ length: 20 }, (_, i) => [`w${i}`, tensor(new Array(65536).fill(i), [65536])]),
  );
  const bytes = await encodeOnnx(modelOf(tensors));
  let read = 0;
  const inner = bytesSource(bytes, "m.onnx");
  const source = {
    ...inner,
    read: (start: number, end: number, into?: Uint8Array) => {
      read += end - start;
      return inner.read(start, end, into);
    },
  };
  const { graph } = await readOnnx(source);
  expect(read).toBeLessThan(bytes.length / 2);
  const before = read;
  const third = (await graph.initializers.get("w3")?.data.read()) as Tensor<"float32">;
  expect(third.data[7]).toBe(3);
  expect(read - before).toBe(4 * 65536);
});

test("external data goes to files of bounded size, aligned, and comes back", async () => {
  const tensors = {
    a: tensor(new Array(1000).fill(1), [1000]),
    b: tensor(new Array(1000).fill(2), [1000]),
    small: tensor([3], [1]),
  };
  const files = new Map<string, Uint8Array[]>();
  const file = (name: string) => {
    files.set(name, []);
    return { write: async (bytes: Uint8Array) => void files.get(name)?.push(bytes.slice()), close: async () => {} };
  };
  const options = { externalData: true, maxExternalBytes: 5000 } as const;
  await writeOnnx(modelOf(tensors), { ...file("model.onnx"), external: async (name) => file(name) }, options);
  expect([...files.keys()]).toEqual(["model.onnx", "model.onnx_data", "model.onnx_data_1"]);
  const content = (name: string) => Buffer.concat(files.get(name) ?? []);
  expect(content("model.onnx_data").length).toBe(4000);
  expect(content("model.onnx").length).toBeLessThan(1000);
  const back = await readOnnx(bytesSource(content("model.onnx"), "model.onnx"), {
    external: async (name) => (files.has(name) ? bytesSource(content(name), name) : undefined),
  });
  for (const [name, each] of Object.entries(tensors))
    expect(await back.graph.initializers.get(name)?.data.read()).toEqual(each);
  const alone = await readOnnx(bytesSource(content("model.onnx"), "model.onnx"));
  await expect(alone.graph.initializers.get("a")?.data.read()).rejects.toThrow(/"model.onnx_data", which is not there/);
  // One file: the second tensor begins at a multiple of 64.
  await writeOnnx(
    modelOf(tensors),
    { ...file("m.onnx"), external: async (name) => file(name) },
    { externalData: true, fileName: "m.onnx" },
  );
  expect(content("m.onnx_data").length).toBe(4032 + 4000);
});

test("the largest model file is refused before any weight is read, and weights must be what was planned", async () => {
  const huge = (read: LazyTensor["read"]): LazyTensor => ({ dtype: "float32", shape: [2 ** 29], read });
  const make = (data: LazyTensor) => {
    const [y] = node("Use", [x, parameter("w", data)], { outputs: [{ dtype: "float32", shape: ["n"] }] });
    return assemble({ name: "g", inputs: [x], outputs: { y } });
  };
  let reads = 0;
  const model = make(
    huge(async () => {
      reads++;
      return tensor([1], [1]);
    }),
  );
  await expect(encodeOnnx(model)).rejects.toThrow(/larger than protobuf allows/);
  await expect(writeOnnx(model, { write: async () => {} })).rejects.toThrow(/needs? a file of external data|external/);
  expect(reads).toBe(0);
  const wrong = make({ dtype: "float32", shape: [2], read: async () => tensor([1, 2, 3], [3]) });
  await expect(encodeOnnx(wrong)).rejects.toThrow(/"w".*expected float32 \[2\], found float32 \[3\]/);
});

test("transposed views are written row-major", async () => {
  const data = tensor(
    Array.from({ length: 35 * 70 }, (_, i) => i),
    [35, 70],
  );
  const turned: Tensor = { ...data, shape: [70, 35], stride: [1, 70] };
  const model = modelOf({ w: turned });
  const { graph } = await readOnnx(bytesSource(await encodeOnnx(model), "m"));
  const back = (await graph.initializers.get("w")?.data.read()) as Tensor<"float32">;
  expect(back.shape).toEqual([70, 35]);
  expect([...back.data.subarray(0, 3)]).toEqual([0, 70, 140]);
  expect(back.data[34 + 35 * 69]).toBe(elementCount([35, 70]) - 1);
});

test("onnxruntime loads what is written", async () => {
  const model = assemble({ name: "g", inputs: [x], outputs: { y: relu(x) } });
  const session = await ort.InferenceSession.create(await encodeOnnx(model));
  const { y } = await session.run({ x: new ort.Tensor("float32", Float32Array.of(-1, 2), [2]) });
  expect([...(y.data as Float32Array)]).toEqual([0, 2]);
  await session.release();
});
