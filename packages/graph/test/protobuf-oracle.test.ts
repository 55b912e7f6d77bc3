import { create, createFileRegistry, type DescMessage, fromBinary, toJson } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { add, assemble, encodeOnnx, input, int, lazyTensor, node, parameter, relu, text } from "../src/index.ts";

/** Field kinds of descriptor.proto. */
const kinds = { float: 2, int64: 3, int32: 5, string: 9, message: 11, bytes: 12 } as const;

type FieldText = `${"" | "repeated "}${string} ${string} = ${number}`;

/** The part of onnx.proto that models here use, by field name, type and number. */
const schema: Readonly<Record<string, readonly FieldText[]>> = {
  ModelProto: [
    "int64 ir_version = 1",
    "string producer_name = 2",
    "GraphProto graph = 7",
    "repeated OperatorSetIdProto opset_import = 8",
    "repeated StringStringEntryProto metadata_props = 14",
  ],
  OperatorSetIdProto: ["string domain = 1", "int64 version = 2"],
  StringStringEntryProto: ["string key = 1", "string value = 2"],
  GraphProto: [
    "repeated NodeProto node = 1",
    "string name = 2",
    "repeated TensorProto initializer = 5",
    "repeated ValueInfoProto input = 11",
    "repeated ValueInfoProto output = 12",
    "repeated ValueInfoProto value_info = 13",
  ],
  NodeProto: [
    "repeated string input = 1",
    "repeated string output = 2",
    "string name = 3",
    "string op_type = 4",
    "repeated AttributeProto attribute = 5",
    "string domain = 7",
  ],
  AttributeProto: [
    "string name = 1",
    "float f = 2",
    "int64 i = 3",
    "bytes s = 4",
    "TensorProto t = 5",
    "GraphProto g = 6",
    "repeated float floats = 7",
    "repeated int64 ints = 8",
    "repeated bytes strings = 9",
    "int32 type = 20",
  ],
  TensorProto: ["repeated int64 dims = 1", "int32 data_type = 2", "string name = 8", "bytes raw_data = 9"],
  ValueInfoProto: ["string name = 1", "TypeProto type = 2"],
  TypeProto: ["TensorTypeProto tensor_type = 1"],
  TensorTypeProto: ["int32 elem_type = 1", "ShapeProto shape = 2"],
  ShapeProto: ["repeated DimensionProto dim = 1"],
  DimensionProto: ["int64 dim_value = 1", "string dim_param = 2"],
};

function descriptor(field: FieldText) {
  const [, repeated, type, name, number] = /^(repeated )?(\w+) (\w+) = (\d+)$/.exec(field) as RegExpExecArray;
  const kind = type in kinds ? kinds[type as keyof typeof kinds] : kinds.message;
  const typeName = kind === kinds.message ? `.onnx.${type}` : undefined;
  const jsonName = name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase());
  return { name, jsonName, number: Number(number), label: repeated ? 3 : 1, type: kind as number, typeName };
}

/** The messages as an independent protobuf library reads them. */
function oracle(): DescMessage {
  const file = create(FileDescriptorProtoSchema, {
    name: "onnx.proto",
    package: "onnx",
    syntax: "proto2",
    messageType: Object.entries(schema).map(([name, fields]) => ({ name, field: fields.map(descriptor) })),
  });
  const registry = createFileRegistry(create(FileDescriptorSetSchema, { file: [file] }));
  return registry.getMessage("onnx.ModelProto") as DescMessage;
}

test("an independent protobuf library reads every field as it was meant", async () => {
  const x = input("x", "float32", ["batch", 2]);
  const w = parameter("w", lazyTensor(tensor([1, 2], [2])));
  const body = assemble({ name: "body", inputs: [], outputs: { z: relu(tensor([-1])) } }).graph;
  const attributes = {
    i: int(-(2n ** 63n)),
    f: { type: "float", value: 0.5 },
    s: text("ü"),
    t: { type: "tensor", value: tensor([3], [1]) },
    g: { type: "graph", value: body },
    floats: { type: "floats", value: [1, -2] },
    ints: { type: "ints", value: [300, -1] },
    strings: { type: "strings", value: ["a", "b"] },
  } as const;
  const [y] = node("Custom", [add(x, w), undefined, x], {
    domain: "mine",
    attributes,
    outputs: [{ dtype: "int64", shape: ["?"] }],
  });
  const bytes = await encodeOnnx(assemble({ name: "g", inputs: [x], outputs: { y }, metadata: { key: "value" } }));
  const message = oracle();
  const read = toJson(message, fromBinary(message, bytes));
  expect(read).toMatchObject({
    irVersion: "10",
    producerName: "loomweight",
    opsetImport: [
      { domain: "", version: "21" },
      { domain: "mine", version: "1" },
    ],
    metadataProps: [{ key: "key", value: "value" }],
    graph: {
      name: "g",
      node: [
        { input: ["x", "w"], output: ["/Add/output_0"], name: "/Add", opType: "Add" },
        {
          input: ["/Add/output_0", "", "x"],
          output: ["y"],
          opType: "Custom",
          domain: "mine",
          attribute: [
            { name: "i", i: "-9223372036854775808", type: 2 },
            { name: "f", f: 0.5, type: 1 },
            { name: "s", s: Buffer.from("ü").toString("base64"), type: 3 },
            { name: "t", t: { dims: ["1"], dataType: 1, rawData: "AABAQA==" }, type: 4 },
            { name: "g", g: { name: "body", output: [{ name: "z" }] }, type: 5 },
            { name: "floats", floats: [1, -2], type: 6 },
            { name: "ints", ints: ["300", "-1"], type: 7 },
            { name: "strings", strings: ["YQ==", "Yg=="], type: 8 },
          ],
        },
      ],
      initializer: [{ dims: ["2"], dataType: 1, name: "w", rawData: "AACAPwAAAEA=" }],
      input: [
        {
          name: "x",
          type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: "batch" }, { dimValue: "2" }] } } },
        },
      ],
      output: [{ name: "y", type: { tensorType: { elemType: 7, shape: { dim: [{}] } } } }],
      valueInfo: [{ name: "/Add/output_0" }],
    },
  });
  // Nothing was written that the schema does not name.
  expect(
    JSON.stringify(fromBinary(message, bytes), (key, value) =>
      key === "$unknown" ? "UNKNOWN" : typeof value === "bigint" ? `${value}` : value,
    ),
  ).not.toContain("UNKNOWN");
});
