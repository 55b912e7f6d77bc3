import type { Initializer, OnnxGraph, OnnxNode, ValueInfo } from "../model.ts";
import { dtypeOfOnnx, isOnnxDtype } from "../onnx-dtype.ts";
import {
  type Cursor,
  cursorOf,
  expectType,
  fixed32Type,
  lengthType,
  malformed,
  readBytes,
  readFloat,
  readInt64,
  readInteger,
  readMessage,
  readRepeated,
  readTag,
  readText,
  varintType,
} from "../protobuf/reader.ts";
import type { AttributeValue, Dim, LazyTensor } from "../value.ts";
import { decodeTensor, type TensorRecord, tensorOfRecord } from "./tensor-proto.ts";
import { collectUnknown } from "./unknown.ts";

/** Subgraphs inside subgraphs: more than any real model has. */
const deepest = 32;

export interface DecodeContext {
  readonly file: string;
  readonly depth: number;
  /** The data of a tensor that the record does not hold itself. */
  readonly dataOf: (record: TensorRecord) => LazyTensor;
}

/** An initializer: its data is read when asked for. */
export function initializerOf(record: TensorRecord, data: LazyTensor): Initializer {
  const { name, dtype, shape, docString, unknown } = record;
  return { name, dtype, shape, data, ...some({ docString, unknown }) };
}

/** Entries that are not undefined. */
function some<T extends object>(entries: T): Partial<T> {
  return Object.fromEntries(Object.entries(entries).filter(([, value]) => value !== undefined)) as Partial<T>;
}

/** Data that a record holds itself, taken apart on first read. */
export function recordData(record: TensorRecord, file: string): LazyTensor {
  const { dtype, shape } = record;
  return { dtype, shape, read: async () => tensorOfRecord(record, file) };
}

/** Fields of a GraphProto; `initializers` come first where they were read apart. */
export function decodeGraph(
  cursor: Cursor,
  context: DecodeContext,
  initializers: readonly Initializer[] = [],
): OnnxGraph {
  if (context.depth > deepest) throw malformed(context.file, `subgraphs are nested more than ${deepest} deep`);
  const nodes: OnnxNode[] = [];
  const inputs: ValueInfo[] = [];
  const outputs: ValueInfo[] = [];
  const weights = new Map<string, Initializer>();
  const valueInfo = new Map<string, ValueInfo>();
  const unknown = collectUnknown();
  let name = "";
  let docString: string | undefined;
  const addWeight = (weight: Initializer) => {
    if (weights.has(weight.name)) throw malformed(context.file, `two initializers are named "${weight.name}"`);
    weights.set(weight.name, weight);
  };
  for (const weight of initializers) addWeight(weight);
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (![1, 2, 5, 10, 11, 12, 13].includes(field.number)) {
      unknown.keep(cursor, field);
      continue;
    }
    expectType(cursor, field, lengthType);
    switch (field.number) {
      case 1:
        nodes.push(decodeNode(readMessage(cursor), context));
        break;
      case 2:
        name = readText(cursor);
        break;
      case 5: {
        const record = decodeTensor(readMessage(cursor));
        addWeight(initializerOf(record, record.external ? context.dataOf(record) : recordData(record, context.file)));
        break;
      }
      case 10:
        docString = readText(cursor);
        break;
      case 11:
        inputs.push(decodeValueInfo(readMessage(cursor)));
        break;
      case 12:
        outputs.push(decodeValueInfo(readMessage(cursor)));
        break;
      default: {
        const info = decodeValueInfo(readMessage(cursor));
        valueInfo.set(info.name, info);
      }
    }
  }
  return {
    name,
    nodes,
    inputs,
    outputs,
    initializers: weights,
    valueInfo,
    ...some({ docString, unknown: unknown.bytes() }),
  };
}

export function decodeNode(cursor: Cursor, context: DecodeContext): OnnxNode {
  const inputs: string[] = [];
  const outputs: string[] = [];
  const attributes: Record<string, AttributeValue> = Object.create(null);
  const unknown = collectUnknown();
  let [name, op, domain] = ["", "", ""];
  let docString: string | undefined;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (field.number > 7) {
      unknown.keep(cursor, field);
      continue;
    }
    expectType(cursor, field, lengthType);
    if (field.number === 5) {
      const [key, value] = decodeAttribute(readMessage(cursor), context);
      if (key in attributes) throw malformed(context.file, `node "${name}" has attribute "${key}" twice`);
      attributes[key] = value;
      continue;
    }
    const text = readText(cursor);
    if (field.number === 1) inputs.push(text);
    else if (field.number === 2) outputs.push(text);
    else if (field.number === 3) name = text;
    else if (field.number === 4) op = text;
    else if (field.number === 6) docString = text;
    else domain = text;
  }
  // A plain object, so that models compare and print; "__proto__" stays an own key.
  const own = Object.fromEntries(Object.entries(attributes));
  return { op, domain, name, inputs, outputs, attributes: own, ...some({ docString, unknown: unknown.bytes() }) };
}

interface AttributeParts {
  type: number;
  float: number;
  int: bigint;
  bytes: Uint8Array | undefined;
  tensor: TensorRecord | undefined;
  graph: OnnxGraph | undefined;
  readonly floats: number[];
  readonly ints: bigint[];
  readonly texts: Uint8Array[];
  readonly tensors: TensorRecord[];
  readonly graphs: OnnxGraph[];
}

export function decodeAttribute(cursor: Cursor, context: DecodeContext): [name: string, value: AttributeValue] {
  const whole = cursor.bytes.subarray(cursor.at, cursor.end);
  const parts: AttributeParts = {
    type: 0,
    float: 0,
    int: 0n,
    bytes: undefined,
    tensor: undefined,
    graph: undefined,
    floats: [],
    ints: [],
    texts: [],
    tensors: [],
    graphs: [],
  };
  const extra = collectUnknown();
  const inner = { ...context, depth: context.depth + 1 };
  let name = "";
  let opaque = false;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    switch (field.number) {
      case 1:
        expectType(cursor, field, lengthType);
        name = readText(cursor);
        break;
      case 2:
        expectType(cursor, field, fixed32Type);
        parts.float = readFloat(cursor);
        break;
      case 3:
        expectType(cursor, field, varintType);
        parts.int = readInt64(cursor);
        break;
      case 4:
        expectType(cursor, field, lengthType);
        parts.bytes = readBytes(cursor);
        break;
      case 5:
        expectType(cursor, field, lengthType);
        parts.tensor = decodeTensor(readMessage(cursor));
        break;
      case 6:
        expectType(cursor, field, lengthType);
        parts.graph = decodeGraph(readMessage(cursor), inner);
        break;
      case 7:
        readRepeated(cursor, field, fixed32Type, readFloat, parts.floats);
        break;
      case 8:
        readRepeated(cursor, field, varintType, readInt64, parts.ints);
        break;
      case 9:
        expectType(cursor, field, lengthType);
        parts.texts.push(readBytes(cursor));
        break;
      case 10:
        expectType(cursor, field, lengthType);
        parts.tensors.push(decodeTensor(readMessage(cursor)));
        break;
      case 11:
        expectType(cursor, field, lengthType);
        parts.graphs.push(decodeGraph(readMessage(cursor), inner));
        break;
      case 20:
        expectType(cursor, field, varintType);
        parts.type = readInteger(cursor);
        break;
      default:
        // References to a function's attribute, types and sparse tensors are kept whole.
        opaque ||= field.number !== 13;
        extra.keep(cursor, field);
    }
  }
  const value = opaque ? undefined : attributeValue(parts, context.file);
  if (value === undefined) return [name, { type: "raw", value: whole.slice() }];
  const kept = extra.bytes();
  return [name, kept === undefined ? value : { ...value, extra: kept }];
}

/** undefined: a kind that is kept as it stands. */
function attributeValue(parts: AttributeParts, file: string): AttributeValue | undefined {
  switch (parts.type === 0 ? guessType(parts) : parts.type) {
    case 1:
      return { type: "float", value: parts.float };
    case 2:
      return { type: "int", value: simple(parts.int) };
    case 3:
      return textValue(parts.bytes ?? new Uint8Array());
    case 4: {
      if (parts.tensor === undefined || parts.tensor.external !== undefined) return undefined;
      const { name } = parts.tensor;
      return {
        type: "tensor",
        value: tensorOfRecord(parts.tensor, file),
        ...(name === "" ? {} : { tensorName: name }),
      };
    }
    case 5:
      return parts.graph && { type: "graph", value: parts.graph };
    case 6:
      return { type: "floats", value: parts.floats };
    case 7:
      return { type: "ints", value: parts.ints.map(simple) };
    case 8: {
      const texts = parts.texts.map(exactText);
      return texts.every((text) => text !== undefined) ? { type: "strings", value: texts } : undefined;
    }
    case 9:
      if (parts.tensors.some((record) => record.external !== undefined)) return undefined;
      return { type: "tensors", value: parts.tensors.map((record) => tensorOfRecord(record, file)) };
    case 10:
      return { type: "graphs", value: parts.graphs };
    default:
      return undefined;
  }
}

/** Very old files leave the type out. */
function guessType(parts: AttributeParts): number {
  if (parts.tensor) return 4;
  if (parts.graph) return 5;
  if (parts.bytes) return 3;
  if (parts.ints.length > 0) return 7;
  if (parts.floats.length > 0) return 6;
  if (parts.texts.length > 0) return 8;
  return parts.int !== 0n ? 2 : 0;
}

const simple = (value: bigint): number | bigint => (Number.isSafeInteger(Number(value)) ? Number(value) : value);

function textValue(bytes: Uint8Array): AttributeValue | undefined {
  const text = exactText(bytes);
  return text === undefined ? undefined : { type: "string", value: text };
}

/** The text, or undefined where the bytes are no UTF-8. */
function exactText(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

export function decodeValueInfo(cursor: Cursor): ValueInfo {
  const unknown = collectUnknown();
  let name = "";
  let docString: string | undefined;
  let type: Uint8Array | undefined;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (field.number > 3) {
      unknown.keep(cursor, field);
      continue;
    }
    expectType(cursor, field, lengthType);
    if (field.number === 1) name = readText(cursor);
    else if (field.number === 2) type = readBytes(cursor).slice();
    else docString = readText(cursor);
  }
  const known = type === undefined ? { exact: true } : decodeType(type, cursor.file);
  const { dtype, shape, exact } = { dtype: undefined, shape: undefined, ...known };
  return { name, dtype, shape, ...some({ docString, type: exact ? undefined : type, unknown: unknown.bytes() }) };
}

interface TypeFacts {
  readonly dtype?: ValueInfo["dtype"];
  readonly shape?: readonly Dim[];
  /** dtype and shape say all there is. */
  readonly exact: boolean;
}

/** What a TypeProto says about a tensor. */
export function decodeType(bytes: Uint8Array, file: string): TypeFacts {
  const cursor = cursorOf(bytes, file);
  let facts: TypeFacts = { exact: false };
  let others = false;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    expectType(cursor, field, lengthType);
    if (field.number === 1) facts = decodeTensorType(readMessage(cursor));
    else {
      others = true;
      readBytes(cursor);
    }
  }
  return { ...facts, exact: facts.exact && !others };
}

function decodeTensorType(cursor: Cursor): TypeFacts {
  let dtype: ValueInfo["dtype"];
  let shape: Dim[] | undefined;
  let exact = true;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (field.number === 1) {
      expectType(cursor, field, varintType);
      const id = readInteger(cursor);
      dtype = isOnnxDtype(id) ? dtypeOfOnnx(id) : undefined;
      exact &&= dtype !== undefined;
    } else if (field.number === 2) {
      expectType(cursor, field, lengthType);
      const inner = readMessage(cursor);
      shape = [];
      for (let dim = readTag(inner); dim !== undefined; dim = readTag(inner)) {
        expectType(inner, dim, lengthType);
        const decoded = decodeDim(readMessage(inner));
        shape.push(decoded.dim);
        exact &&= decoded.exact && dim.number === 1;
      }
    } else {
      exact = false;
      expectType(cursor, field, lengthType);
      readBytes(cursor);
    }
  }
  return { dtype, shape, exact };
}

function decodeDim(cursor: Cursor): { dim: Dim; exact: boolean } {
  let dim: Dim = "?";
  let exact = true;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (field.number === 1) {
      expectType(cursor, field, varintType);
      const size = readInteger(cursor);
      // Some exporters write -1 or 0 for a size that is not known; a symbol by that name could not be written back.
      dim = size < 0 ? "?" : size;
      exact &&= size >= 0;
    } else if (field.number === 2) {
      expectType(cursor, field, lengthType);
      const symbol = readText(cursor);
      dim = symbol === "" ? "?" : symbol;
      exact &&= dim !== "?";
    } else {
      exact = false;
      expectType(cursor, field, lengthType);
      readBytes(cursor);
    }
  }
  return { dim, exact };
}
