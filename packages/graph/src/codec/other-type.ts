import type { OtherType } from "../infer-others.ts";
import { isOnnxDtype } from "../onnx-dtype.ts";
import {
  cursorOf,
  expectType,
  lengthType,
  malformed,
  readBytes,
  readInteger,
  readTag,
  varintType,
} from "../protobuf/reader.ts";
import { decodeType } from "./decode.ts";
import { collectUnknown } from "./unknown.ts";

/** Sequences of sequences: more than any real type has. */
const deepest = 8;

/** What a TypeProto says where it is no tensor of a known dtype; undefined for other kinds (maps, sparse tensors). */
export function decodeOtherType(bytes: Uint8Array, file: string, depth = 0): OtherType | undefined {
  if (depth > deepest) throw malformed(file, `types are nested more than ${deepest} deep`);
  const cursor = cursorOf(bytes, file);
  const unknown = collectUnknown();
  let found: OtherType | undefined;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (![1, 4, 9].includes(field.number)) {
      unknown.keep(cursor, field);
      continue;
    }
    expectType(cursor, field, lengthType);
    const inner = readBytes(cursor);
    if (field.number === 1) {
      const elementType = elementTypeOf(inner, file);
      const { shape } = decodeType(bytes, file);
      if (elementType !== undefined && shape !== undefined) found = { kind: "tensor", elementType, shape };
    } else {
      found = { kind: field.number === 4 ? "sequence" : "optional", element: elementOf(inner, file, depth) };
    }
  }
  return found;
}

/** Number of a tensor's dtype that this project has no name for. */
function elementTypeOf(bytes: Uint8Array, file: string): number | undefined {
  const cursor = cursorOf(bytes, file);
  const unknown = collectUnknown();
  let found: number | undefined;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (field.number !== 1) {
      unknown.keep(cursor, field);
      continue;
    }
    expectType(cursor, field, varintType);
    const id = readInteger(cursor);
    if (!isOnnxDtype(id) && id > 0) found = id;
  }
  return found;
}

/** The TypeProto inside a sequence or optional. */
function elementOf(bytes: Uint8Array, file: string, depth: number) {
  const cursor = cursorOf(bytes, file);
  const unknown = collectUnknown();
  let type: Uint8Array | undefined;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (field.number !== 1) {
      unknown.keep(cursor, field);
      continue;
    }
    expectType(cursor, field, lengthType);
    type = readBytes(cursor);
  }
  if (type === undefined) return undefined;
  const { dtype, shape } = decodeType(type, file);
  if (dtype !== undefined) return { dtype, shape } as { dtype: typeof dtype; shape: undefined };
  return decodeOtherType(type, file, depth + 1);
}
