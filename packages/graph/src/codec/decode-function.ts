import type { OnnxNode } from "../model.ts";
import {
  cursorOf,
  expectType,
  lengthType,
  malformed,
  readBytes,
  readMessage,
  readTag,
  readText,
} from "../protobuf/reader.ts";
import type { Attributes, AttributeValue } from "../value.ts";
import { type DecodeContext, decodeAttribute, decodeNode } from "./decode.ts";
import { decodeOpset } from "./opset.ts";
import { collectUnknown } from "./unknown.ts";

/** A FunctionProto taken apart. */
export interface FunctionBody {
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly nodes: readonly OnnxNode[];
  /** Attributes that a call may leave out. */
  readonly defaults: Attributes;
  readonly opsets: Readonly<Record<string, number>>;
}

/** Throws `INVALID_ONNX`; data outside the file is refused, functions hold none. */
export function decodeFunction(bytes: Uint8Array, file: string): FunctionBody {
  const cursor = cursorOf(bytes, file);
  const context: DecodeContext = {
    file,
    depth: 0,
    dataOf: () => {
      throw malformed(file, "a function refers to external data");
    },
  };
  const inputs: string[] = [];
  const outputs: string[] = [];
  const nodes: OnnxNode[] = [];
  const defaults = new Map<string, AttributeValue>();
  const opsets = new Map<string, number>();
  const unknown = collectUnknown();
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (![4, 5, 7, 9, 11].includes(field.number)) {
      unknown.keep(cursor, field);
      continue;
    }
    expectType(cursor, field, lengthType);
    if (field.number === 4) inputs.push(readText(cursor));
    else if (field.number === 5) outputs.push(readText(cursor));
    else if (field.number === 7) nodes.push(decodeNode(readMessage(cursor), context));
    else if (field.number === 11) defaults.set(...decodeAttribute(readMessage(cursor), context));
    else opsets.set(...decodeOpset(cursorOf(readBytes(cursor), file)));
  }
  return { inputs, outputs, nodes, defaults: Object.fromEntries(defaults), opsets: Object.fromEntries(opsets) };
}

/** Name of the function's attribute that an AttributeProto refers to; undefined where it refers to none. */
export function referredAttribute(bytes: Uint8Array): string | undefined {
  const cursor = cursorOf(bytes, "attribute");
  const unknown = collectUnknown();
  let name: string | undefined;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (field.number === 21) {
      expectType(cursor, field, lengthType);
      name = readText(cursor);
    } else unknown.keep(cursor, field);
  }
  return name;
}
