import type { ByteSource } from "@loomweight/checkpoint";
import { isPlainRelativePath } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";
import type { Initializer, OnnxFunction, OnnxModel } from "../model.ts";
import {
  type Cursor,
  cursorOf,
  expectType,
  lengthType,
  malformed,
  readBytes,
  readInt64,
  readInteger,
  readTag,
  readText,
  varintType,
} from "../protobuf/reader.ts";
import type { LazyTensor } from "../value.ts";
import { fileBytes, tensorFromBytes } from "./codes.ts";
import { decodeGraph, initializerOf, recordData } from "./decode.ts";
import { decodeOpset } from "./opset.ts";
import { type ScannedTensor, scanModel } from "./scan.ts";
import { decodeEntry, decodeTensor, type TensorRecord, tensorOfRecord } from "./tensor-proto.ts";
import { collectUnknown } from "./unknown.ts";

export interface ReadOnnxOptions {
  /**
   * Opens a file of external data by its name inside the model's folder; undefined when there is none. Without it,
   * reading a tensor that lies elsewhere throws `MISSING_EXTERNAL_DATA`.
   */
  readonly external?: (location: string) => Promise<ByteSource | undefined>;
}

/**
 * An ONNX file as plain data. Weights are not read: each initializer's `data` reads its own bytes, so `source` must
 * stay open while they are in use. Throws `INVALID_ONNX`, `UNSUPPORTED_DTYPE`, `TOO_LARGE`.
 */
export async function readOnnx(source: ByteSource, options: ReadOnnxOptions = {}): Promise<OnnxModel> {
  const scanned = await scanModel(source);
  const external = externalReader(source.name, options.external);
  const initializers = scanned.initializers.map((tensor) => initializerOfScan(source, tensor, external));
  const context = { file: source.name, depth: 0, dataOf: external };
  const graph = decodeGraph(cursorOf(scanned.graph, source.name), context, initializers);
  return { ...decodeModelFields(cursorOf(scanned.model, source.name)), graph };
}

function initializerOfScan(
  source: ByteSource,
  scanned: ScannedTensor,
  external: (record: TensorRecord) => LazyTensor,
): Initializer {
  const record = decodeTensor(cursorOf(scanned.head, source.name));
  const { dtype, shape, name } = record;
  if (record.external !== undefined) return initializerOf(record, external(record));
  const { raw } = scanned;
  if (raw !== undefined) {
    const expected = fileBytes(dtype, shape);
    if (raw.end - raw.start !== expected) {
      throw malformed(source.name, `tensor "${name}" of ${dtype} and shape [${shape}] has the wrong number of bytes`, {
        expected: `${expected}`,
        found: `${raw.end - raw.start}`,
      });
    }
    const read = async () => tensorFromBytes(dtype, shape, await source.read(raw.start, raw.end), source.name);
    const bytes = (start: number, end: number) => source.read(raw.start + start, raw.start + end);
    return initializerOf(record, { dtype, shape, read, bytes, stream: () => partsOf(source, raw.start, raw.end) });
  }
  if (!scanned.typed) {
    tensorOfRecord(record, source.name); // a small tensor: its count is checked now
    return initializerOf(record, recordData(record, source.name));
  }
  const { start, end } = scanned;
  const read = async () =>
    tensorOfRecord(decodeTensor(cursorOf(await source.read(start, end), source.name)), source.name);
  return initializerOf(record, { dtype, shape, read });
}

/** Bytes of a large weight that are in memory at a time. */
const partBytes = 2 ** 20;

async function* partsOf(source: ByteSource, start: number, end: number): AsyncGenerator<Uint8Array> {
  for (let at = start; at < end; at += partBytes) yield await source.read(at, Math.min(end, at + partBytes));
}

/** Reads tensors that lie in other files; each file is opened once, on first use. */
function externalReader(file: string, open: ReadOnnxOptions["external"]): (record: TensorRecord) => LazyTensor {
  const opened = new Map<string, Promise<ByteSource | undefined>>();
  return (record) => {
    const { name, dtype, shape } = record;
    const { location, offset, length } = record.external as NonNullable<TensorRecord["external"]>;
    if (!isPlainRelativePath(location)) {
      throw new LoomweightError({
        code: "UNSAFE_NAME",
        problem: "external data must lie in the model's folder",
        file,
        tensor: name,
        found: JSON.stringify(location.slice(0, 200)),
        fix: "Names with .., absolute paths and hidden files are refused.",
      });
    }
    const expected = fileBytes(dtype, shape);
    if (dtype === "string" || (length !== undefined && length !== expected)) {
      throw malformed(file, `external data of tensor "${name}" (${dtype} [${shape}]) has the wrong length`, {
        expected: `${expected}`,
        found: `${length}`,
      });
    }
    const found = async (): Promise<ByteSource> => {
      if (open !== undefined && !opened.has(location)) opened.set(location, open(location));
      const source = await opened.get(location);
      if (source === undefined) throw missingExternal(file, name, location);
      if (offset + expected > source.size) throw beyondEnd(name, source, offset + expected);
      return source;
    };
    const read = async () => {
      const source = await found();
      return tensorFromBytes(dtype, shape, await source.read(offset, offset + expected), source.name);
    };
    async function* stream() {
      yield* partsOf(await found(), offset, offset + expected);
    }
    const bytes = async (start: number, end: number) => (await found()).read(offset + start, offset + end);
    return { dtype, shape, read, bytes, stream, external: { location, offset, byteLength: expected } };
  };
}

/** A `MISSING_EXTERNAL_DATA` error. */
export function missingExternal(file: string, tensor: string, location: string): LoomweightError {
  return new LoomweightError({
    code: "MISSING_EXTERNAL_DATA",
    problem: `the weights lie in "${location}", which is not there`,
    file,
    tensor,
    fix: `Put "${location}" beside the model file.`,
  });
}

/** An `INVALID_ONNX` error about a weight that its external data is too short for. */
export function beyondEnd(tensor: string, source: { name: string; size: number }, end: number): LoomweightError {
  return new LoomweightError({
    code: "INVALID_ONNX",
    problem: `tensor "${tensor}" lies beyond the end of its external data`,
    file: source.name,
    expected: `at least ${end} bytes`,
    found: `${source.size}`,
  });
}

function decodeModelFields(cursor: Cursor): Omit<OnnxModel, "graph"> {
  const opsets: Record<string, number> = {};
  const metadata: Record<string, string> = {};
  const functions: OnnxFunction[] = [];
  const unknown = collectUnknown();
  let irVersion = 0;
  const texts: Record<number, string> = {};
  let modelVersion: bigint | undefined;
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    switch (field.number) {
      case 1:
        expectType(cursor, field, varintType);
        irVersion = readInteger(cursor);
        break;
      case 5:
        expectType(cursor, field, varintType);
        modelVersion = readInt64(cursor);
        break;
      case 2:
      case 3:
      case 4:
      case 6:
        expectType(cursor, field, lengthType);
        texts[field.number] = readText(cursor);
        break;
      case 8: {
        expectType(cursor, field, lengthType);
        const [domain, version] = decodeOpset(cursorOf(readBytes(cursor), cursor.file));
        define(opsets, domain, version);
        break;
      }
      case 14: {
        expectType(cursor, field, lengthType);
        const [key, value] = decodeEntry(cursor);
        define(metadata, key, value);
        break;
      }
      case 25: {
        expectType(cursor, field, lengthType);
        const bytes = readBytes(cursor).slice();
        functions.push({ ...functionName(cursorOf(bytes, cursor.file)), bytes });
        break;
      }
      default:
        unknown.keep(cursor, field);
    }
  }
  const kept = unknown.bytes();
  return {
    irVersion,
    producer: { name: texts[2] ?? "", version: texts[3] ?? "" },
    opsets,
    functions,
    metadata,
    ...(texts[4] === undefined ? {} : { domain: texts[4] }),
    ...(modelVersion === undefined ? {} : { modelVersion }),
    ...(texts[6] === undefined ? {} : { docString: texts[6] }),
    ...(kept === undefined ? {} : { unknown: kept }),
  };
}

/** An own property whatever its name, "__proto__" included. */
function define<T>(target: Record<string, T>, key: string, value: T): void {
  Object.defineProperty(target, key, { value, enumerable: true, configurable: true, writable: true });
}

function functionName(cursor: Cursor): { name: string; domain: string } {
  const names = { name: "", domain: "" };
  const unknown = collectUnknown();
  for (let field = readTag(cursor); field !== undefined; field = readTag(cursor)) {
    if (field.number === 1 || field.number === 10) {
      expectType(cursor, field, lengthType);
      if (field.number === 1) names.name = readText(cursor);
      else names.domain = readText(cursor);
    } else unknown.keep(cursor, field);
  }
  return names;
}
