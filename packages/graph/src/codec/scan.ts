import type { ByteSource } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import { malformed } from "../protobuf/reader.ts";
import { varint } from "../protobuf/writer.ts";
import { openWindow, type SourceWindow } from "./window.ts";

/** A TensorProto whose large fields were left in the file. */
export interface ScannedTensor {
  /** Its small fields. */
  readonly head: Uint8Array;
  /** Where the whole message lies. */
  readonly start: number;
  readonly end: number;
  /** Where raw_data lies, when it was left in the file. */
  readonly raw?: { readonly start: number; readonly end: number };
  /** Whether a typed data field was left in the file. */
  readonly typed: boolean;
}

/** A ModelProto with the weights of its graph left in the file. */
export interface ScannedModel {
  /** Fields of the model but its graph. */
  readonly model: Uint8Array;
  /** Fields of the graph but its initializers. */
  readonly graph: Uint8Array;
  readonly initializers: readonly ScannedTensor[];
}

/** Most bytes of a file that are not weights: names, nodes, types, constants inside nodes. */
const mostStructure = 2 ** 29;
/** Data fields of tensors up to this size are kept while scanning. */
const keptInline = 256;

/** Bytes appended one after the other, within the limit of all structure. */
interface Growing {
  append(bytes: Uint8Array | readonly number[]): void;
  /** Throws `TOO_LARGE` when `length` more bytes would pass the limit. */
  check(length: number): void;
  bytes(): Uint8Array;
}

function growing(file: string): Growing {
  let store = new Uint8Array(4096);
  let length = 0;
  const check = (more: number) => {
    if (length + more <= mostStructure) return;
    throw new LoomweightError({
      code: "TOO_LARGE",
      problem: "the graph's structure, weights left aside, is too large",
      file,
      expected: `at most ${mostStructure} bytes`,
      found: `at least ${length + more}`,
    });
  };
  return {
    check,
    append(bytes) {
      check(bytes.length);
      const needed = length + bytes.length;
      if (needed > store.length) {
        const larger = new Uint8Array(Math.max(needed, 2 * store.length));
        larger.set(store.subarray(0, length));
        store = larger;
      }
      store.set(bytes, length);
      length = needed;
    },
    bytes: () => store.subarray(0, length),
  };
}

/** Walks a file, reading everything but the data of the graph's initializers. Throws `INVALID_ONNX`, `TOO_LARGE`. */
export async function scanModel(source: ByteSource): Promise<ScannedModel> {
  const window = openWindow(source);
  const model = growing(source.name);
  const graph = growing(source.name);
  const initializers: ScannedTensor[] = [];
  let graphs = 0;
  await eachField(window, source, source.size, async (field) => {
    if (field.number !== 7 || field.type !== 2) return copyField(window, source, field, model);
    graphs++;
    const end = window.at + field.length;
    await eachField(window, source, end, async (inner) => {
      if (inner.number !== 5 || inner.type !== 2) return copyField(window, source, inner, graph);
      initializers.push(await scanTensor(window, source, window.at + inner.length));
    });
  });
  if (graphs === 0) throw malformed(source.name, "this file holds no graph");
  return { model: model.bytes(), graph: graph.bytes(), initializers };
}

interface ScannedField {
  readonly number: number;
  readonly type: number;
  readonly tag: number;
  /** Bytes of its value after the tag (and the length, for length-delimited fields). */
  readonly length: number;
}

async function eachField(
  window: SourceWindow,
  source: ByteSource,
  end: number,
  visit: (field: ScannedField) => Promise<void>,
): Promise<void> {
  while (window.at < end) {
    const tag = await window.readVarint(end);
    const [number, type] = [Math.floor(tag / 8), tag % 8];
    if (number < 1) throw malformed(source.name, `there is no protobuf field ${number}`);
    if (![0, 1, 2, 5].includes(type)) throw malformed(source.name, `wire type ${type} does not exist in ONNX files`);
    const length = type === 2 ? await window.readVarint(end) : type === 1 ? 8 : type === 5 ? 4 : 0;
    if (length > end - window.at) {
      throw malformed(source.name, "a field claims more bytes than its message has", {
        expected: `at most ${end - window.at}`,
        found: `${length}`,
      });
    }
    await visit({ number, type, tag, length });
  }
}

async function copyField(window: SourceWindow, source: ByteSource, field: ScannedField, into: Growing): Promise<void> {
  into.append(varint(field.tag));
  if (field.type === 0) {
    // Copied byte by byte: a negative int64 does not fit a number.
    for (let i = 0; ; i++) {
      if (i === 10 || window.at >= source.size) throw malformed(source.name, "a number is cut off");
      const byte = await window.take(1);
      into.append(byte);
      if (byte[0] < 0x80) return;
    }
  }
  if (field.type === 2) into.append(varint(field.length));
  into.check(field.length);
  into.append(await window.take(field.length));
}

const dataFields = [4, 5, 6, 7, 9, 10, 11];

async function scanTensor(window: SourceWindow, source: ByteSource, end: number): Promise<ScannedTensor> {
  const head = growing(source.name);
  const start = window.at;
  let raw: ScannedTensor["raw"];
  let typed = false;
  await eachField(window, source, end, async (field) => {
    const large = field.type === 2 && field.length > keptInline && dataFields.includes(field.number);
    if (!large) return copyField(window, source, field, head);
    if (field.number === 9) raw = { start: window.at, end: window.at + field.length };
    else typed = true;
    window.step(field.length);
  });
  return { head: head.bytes(), start, end, raw, typed };
}
