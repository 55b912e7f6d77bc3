import { type DType, LoomweightError } from "@loomweight/tensor";
import type { Initializer, OnnxGraph, OnnxModel, OnnxNode, ValueInfo } from "../model.ts";
import { onnxOfDtype } from "../onnx-dtype.ts";
import {
  type EncodedField,
  floatField,
  intField,
  type LazyPiece,
  lazyField,
  type Message,
  message,
  messageField,
  optionalText,
  textField,
} from "../protobuf/writer.ts";
import type { Attributes, AttributeValue, Dim } from "../value.ts";
import { bytesOfTensor, fileBytes } from "./codes.ts";
import { decodeType } from "./decode.ts";
import { type ExternalLocation, tensorData, tensorHead } from "./tensor-proto.ts";
import { unknownFields } from "./unknown.ts";

/** How the data of an initializer is written. */
export interface EncodePlan {
  /** Where the data lies outside the model file; undefined: inside. */
  readonly external: (initializer: Initializer) => ExternalLocation | undefined;
  /** Data of string tensors, read before: their size is not known otherwise. */
  readonly texts: ReadonlyMap<Initializer, EncodedField[]>;
}

/** The ModelProto; data of weights inside it is read while it is written. */
export function encodeModel(model: OnnxModel, plan: EncodePlan): Message {
  return message([
    intField(1, model.irVersion),
    ...optionalText(2, model.producer.name),
    ...optionalText(3, model.producer.version),
    ...(model.domain === undefined ? [] : [textField(4, model.domain)]),
    ...(model.modelVersion === undefined ? [] : [intField(5, model.modelVersion)]),
    ...(model.docString === undefined ? [] : [textField(6, model.docString)]),
    messageField(7, encodeGraph(model.graph, plan)),
    ...Object.entries(model.opsets).map(([domain, version]) =>
      messageField(8, message([textField(1, domain), intField(2, version)])),
    ),
    ...Object.entries(model.metadata).map(([key, value]) =>
      messageField(14, message([textField(1, key), textField(2, value)])),
    ),
    ...model.functions.map(({ bytes }) => messageField(25, { pieces: [bytes], byteLength: bytes.length })),
    ...unknownFields(model.unknown),
  ]);
}

function encodeGraph(graph: OnnxGraph, plan: EncodePlan): Message {
  return message([
    ...graph.nodes.map((node) => messageField(1, encodeNode(node, plan))),
    ...optionalText(2, graph.name),
    ...[...graph.initializers.values()].map((each) => messageField(5, encodeInitializer(each, plan))),
    ...(graph.docString === undefined ? [] : [textField(10, graph.docString)]),
    ...graph.inputs.map((info) => messageField(11, encodeValueInfo(info))),
    ...graph.outputs.map((info) => messageField(12, encodeValueInfo(info))),
    ...[...graph.valueInfo.values()].map((info) => messageField(13, encodeValueInfo(info))),
    ...unknownFields(graph.unknown),
  ]);
}

function encodeInitializer(initializer: Initializer, plan: EncodePlan): Message {
  const { name, dtype, shape, docString, unknown } = initializer;
  const head = tensorHead({ name, dtype, shape, docString, unknown });
  const external = plan.external(initializer);
  if (external !== undefined) {
    const entry = (key: string, value: string) => messageField(13, message([textField(1, key), textField(2, value)]));
    return message([
      ...head,
      entry("location", external.location),
      entry("offset", `${external.offset}`),
      entry("length", `${external.length ?? fileBytes(dtype, shape)}`),
      intField(14, 1),
    ]);
  }
  const texts = plan.texts.get(initializer);
  if (texts !== undefined) return message([...head, ...texts]);
  return message([...head, lazyField(9, lazyPiece(initializer))]);
}

/** What fills the bytes of an initializer. */
export function lazyPiece(initializer: Initializer): LazyPiece {
  const { dtype, shape, data } = initializer;
  return { byteLength: fileBytes(dtype, shape), read: () => initializerBytes(initializer), together: data.together };
}

/**
 * The bytes of an initializer as the file holds them, in parts that are valid until the next one is asked for; throws
 * `SHAPE_MISMATCH` when its data is not what it claims.
 */
export async function* initializerBytes({ name, dtype, shape, data }: Initializer): AsyncGenerator<Uint8Array> {
  const mismatch = (found: string) =>
    new LoomweightError({
      code: "SHAPE_MISMATCH",
      problem: "the weights read are not what was planned",
      tensor: name,
      expected: `${dtype} [${shape}]`,
      found,
    });
  const same = (other: { readonly dtype: DType; readonly shape: readonly number[] }) =>
    other.dtype === dtype && other.shape.length === shape.length && other.shape.every((size, i) => size === shape[i]);
  if (data.stream === undefined || !same(data)) {
    const tensor = await data.read();
    if (!same(tensor)) throw mismatch(`${tensor.dtype} [${tensor.shape}]`);
    yield bytesOfTensor(tensor);
    return;
  }
  const planned = fileBytes(dtype, shape);
  let given = 0;
  for await (const bytes of data.stream()) {
    given += bytes.length;
    if (given > planned) break;
    yield bytes;
  }
  if (given !== planned) throw mismatch(`${given} bytes where ${planned} were planned`);
}

function encodeNode(node: OnnxNode, plan: EncodePlan): Message {
  return message([
    ...node.inputs.map((name) => textField(1, name)),
    ...node.outputs.map((name) => textField(2, name)),
    ...optionalText(3, node.name),
    textField(4, node.op),
    ...encodeAttributes(node.attributes, plan),
    ...(node.docString === undefined ? [] : [textField(6, node.docString)]),
    ...optionalText(7, node.domain),
    ...unknownFields(node.unknown),
  ]);
}

function encodeAttributes(attributes: Attributes, plan: EncodePlan): EncodedField[] {
  return Object.entries(attributes).map(([name, value]) => messageField(5, encodeAttribute(name, value, plan)));
}

function encodeAttribute(name: string, attribute: AttributeValue, plan: EncodePlan): Message {
  if (attribute.type === "raw") return { pieces: [attribute.value], byteLength: attribute.value.length };
  const [type, fields] = attributeFields(attribute, plan);
  return message([textField(1, name), ...fields, intField(20, type), ...unknownFields(attribute.extra)]);
}

function attributeFields(
  attribute: Exclude<AttributeValue, { type: "raw" }>,
  plan: EncodePlan,
): [type: number, fields: EncodedField[]] {
  switch (attribute.type) {
    case "float":
      return [1, [floatField(2, attribute.value)]];
    case "int":
      return [2, [intField(3, attribute.value)]];
    case "string":
      return [3, [textField(4, attribute.value)]];
    case "tensor": {
      const { dtype, shape } = attribute.value;
      const head = tensorHead({ name: attribute.tensorName ?? "", dtype, shape });
      return [4, [messageField(5, message([...head, ...tensorData(attribute.value)]))]];
    }
    case "graph":
      return [5, [messageField(6, encodeGraph(attribute.value, plan))]];
    case "floats":
      return [6, attribute.value.map((value) => floatField(7, value))];
    case "ints":
      return [7, attribute.value.map((value) => intField(8, value))];
    case "strings":
      return [8, attribute.value.map((value) => textField(9, value))];
    case "tensors":
      return [
        9,
        attribute.value.map((tensor) => {
          const head = tensorHead({ name: "", dtype: tensor.dtype, shape: tensor.shape });
          return messageField(10, message([...head, ...tensorData(tensor)]));
        }),
      ];
    case "graphs":
      return [10, attribute.value.map((graph) => messageField(11, encodeGraph(graph, plan)))];
  }
}

function encodeValueInfo(info: ValueInfo): Message {
  const type = info.type !== undefined && stillTrue(info) ? asMessage(info.type) : encodeType(info);
  return message([
    ...optionalText(1, info.name),
    ...(type === undefined ? [] : [messageField(2, type)]),
    ...(info.docString === undefined ? [] : [textField(3, info.docString)]),
    ...unknownFields(info.unknown),
  ]);
}

const asMessage = (bytes: Uint8Array): Message => ({ pieces: [bytes], byteLength: bytes.length });

/** Whether the kept TypeProto still says what dtype and shape say: rewriting may have changed them. */
function stillTrue({ type, dtype, shape }: ValueInfo): boolean {
  const kept = decodeType(type as Uint8Array, "type");
  return kept.dtype === dtype && JSON.stringify(kept.shape) === JSON.stringify(shape);
}

function encodeType({ dtype, shape }: ValueInfo): Message | undefined {
  if (dtype === undefined) return undefined;
  const dims =
    shape === undefined ? [] : [messageField(2, message(shape.map((dim) => messageField(1, encodeDim(dim)))))];
  return message([messageField(1, message([intField(1, onnxOfDtype(dtype)), ...dims]))]);
}

function encodeDim(dim: Dim): Message {
  return message(dim === "?" ? [] : [typeof dim === "number" ? intField(1, dim) : textField(2, dim)]);
}
