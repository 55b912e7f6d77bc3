import { LoomweightError } from "@loomweight/tensor";
import type { Initializer, OnnxGraph, OnnxModel } from "../model.ts";
import type { EncodedField, Message } from "../protobuf/writer.ts";
import { fileBytes } from "./codes.ts";
import { encodeModel, initializerBytes } from "./encode.ts";
import { type ExternalLocation, tensorData } from "./tensor-proto.ts";

/** Takes the bytes of a file in order. */
export interface ByteSink {
  /** The bytes may be overwritten once this has resolved. */
  write(bytes: Uint8Array): Promise<void>;
}

/** Where a model is written. */
export interface OnnxSink extends ByteSink {
  /** Opens a file of external data beside the model; absent: everything must lie in the model file. */
  external?(fileName: string): Promise<ByteSink & { close(): Promise<void> }>;
}

export interface WriteOnnxOptions {
  /** Name of the model file: external data is "<name>_data", "<name>_data_1", …; default "model.onnx". */
  readonly fileName?: string;
  /** What follows the model's name in that of its external data; default "_data". */
  readonly externalSuffix?: string;
  /** Weights outside the model file; default "auto": when they are more than 1.9 GB, as protobuf ends at 2 GB. */
  readonly externalData?: boolean | "auto";
  /** Most bytes of one file of external data; default no limit. A tensor is never divided. */
  readonly maxExternalBytes?: number;
  /** Smaller tensors stay inside; default 1024 bytes. */
  readonly externalThreshold?: number;
  /** Initializers by name whose data lies in a file beside the model already: it is referred to and not written. */
  readonly existing?: ReadonlyMap<string, ExternalLocation>;
}

export interface OnnxPlan {
  readonly model: Message;
  readonly externalFiles: readonly {
    readonly name: string;
    readonly byteLength: number;
    readonly tensors: readonly PlacedTensor[];
  }[];
}

interface PlacedTensor {
  readonly initializer: Initializer;
  readonly offset: number;
}

const mostInside = 1.9e9;
const protobufLimit = 2 ** 31 - 1;

/** Bytes between the parts of a write are gathered up to this. */
const chunkBytes = 2 ** 20;

/** Decides where every byte goes, from names and shapes; strings alone are read. */
export async function planOnnx(model: OnnxModel, options: WriteOnnxOptions = {}): Promise<OnnxPlan> {
  const { fileName = "model.onnx", externalData = "auto", externalThreshold = 1024 } = options;
  const texts = new Map<Initializer, EncodedField[]>();
  await readTexts(model.graph, texts);
  const { existing } = options;
  const weights = [...model.graph.initializers.values()].filter(
    (each) => each.dtype !== "string" && !existing?.has(each.name),
  );
  const total = weights.reduce((sum, each) => sum + fileBytes(each.dtype, each.shape), 0);
  const outside = externalData === "auto" ? total > mostInside : externalData;
  const large = outside ? weights.filter((each) => fileBytes(each.dtype, each.shape) >= externalThreshold) : [];
  const { externalSuffix = "_data", maxExternalBytes = Number.POSITIVE_INFINITY } = options;
  const externalFiles = placeOutside(large, `${fileName}${externalSuffix}`, maxExternalBytes);
  const places = new Map<Initializer, ExternalLocation>();
  for (const [name, place] of existing ?? []) {
    const initializer = model.graph.initializers.get(name);
    if (initializer !== undefined) places.set(initializer, place);
  }
  for (const { name, tensors } of externalFiles) {
    for (const { initializer, offset } of tensors) places.set(initializer, { location: name, offset });
  }
  const message = encodeModel(model, { external: (each) => places.get(each), texts });
  if (message.byteLength > protobufLimit) {
    throw new LoomweightError({
      code: "TOO_LARGE",
      problem: "the model file would be larger than protobuf allows",
      file: fileName,
      expected: `at most ${protobufLimit} bytes`,
      found: `${message.byteLength}`,
      fix: "Write the weights as external data: `externalData: true`.",
    });
  }
  return { model: message, externalFiles };
}

function placeOutside(weights: readonly Initializer[], dataName: string, limit: number): OnnxPlan["externalFiles"] {
  const files: { name: string; byteLength: number; tensors: PlacedTensor[] }[] = [];
  for (const initializer of weights) {
    const length = fileBytes(initializer.dtype, initializer.shape);
    let file = files.at(-1);
    // Tensors begin on a memory page where they are large, so that they can be mapped.
    const alignment = length >= 2 ** 20 ? 4096 : 64;
    let offset = Math.ceil((file?.byteLength ?? 0) / alignment) * alignment;
    if (file === undefined || (offset + length > limit && file.tensors.length > 0)) {
      const suffix = files.length === 0 ? "" : `_${files.length}`;
      file = { name: `${dataName}${suffix}`, byteLength: 0, tensors: [] };
      files.push(file);
      offset = 0;
    }
    file.tensors.push({ initializer, offset });
    file.byteLength = offset + length;
  }
  return files;
}

async function readTexts(graph: OnnxGraph, into: Map<Initializer, EncodedField[]>): Promise<void> {
  for (const each of graph.initializers.values()) {
    if (each.dtype === "string") into.set(each, tensorData(await each.data.read()));
  }
  for (const node of graph.nodes) {
    for (const { type, value } of Object.values(node.attributes)) {
      if (type === "graph") await readTexts(value as OnnxGraph, into);
      if (type === "graphs") for (const inner of value as readonly OnnxGraph[]) await readTexts(inner, into);
    }
  }
}

/**
 * Writes a model, one tensor in memory at a time. The same model gives the same bytes. Throws `TOO_LARGE`,
 * `SHAPE_MISMATCH`, and what reading the weights or the sink throws.
 */
export async function writeOnnx(model: OnnxModel, sink: OnnxSink, options: WriteOnnxOptions = {}): Promise<void> {
  const { externalFiles, model: message } = await planOnnx(model, options);
  for (const { name, tensors } of externalFiles) {
    const file = await openExternal(sink, name);
    try {
      let at = 0;
      for (const { initializer, offset } of tensors) {
        if (offset > at) await file.write(new Uint8Array(offset - at));
        at = offset;
        for await (const bytes of initializerBytes(initializer)) {
          await file.write(bytes);
          at += bytes.length;
        }
      }
    } finally {
      await file.close();
    }
  }
  await writeMessage(message, sink);
}

async function openExternal(sink: OnnxSink, name: string): Promise<ByteSink & { close(): Promise<void> }> {
  if (sink.external !== undefined) return sink.external(name);
  throw new LoomweightError({
    code: "TOO_LARGE",
    problem: "the weights need a file of external data, and this sink holds one file only",
    file: name,
    fix: "Give the sink `external`, or write to a folder with `writeOnnxFile`.",
  });
}

async function writeMessage({ pieces }: Message, sink: ByteSink): Promise<void> {
  let gathered = new Uint8Array(0);
  let length = 0;
  const flush = async () => {
    if (length > 0) await sink.write(gathered.subarray(0, length));
    length = 0;
  };
  const write = async (bytes: Uint8Array) => {
    if (length + bytes.length > chunkBytes) await flush();
    if (bytes.length >= chunkBytes / 2) {
      await flush();
      return sink.write(bytes);
    }
    if (gathered.length === 0) gathered = new Uint8Array(chunkBytes);
    gathered.set(bytes, length);
    length += bytes.length;
  };
  for (const piece of pieces) {
    if (piece instanceof Uint8Array) await write(piece);
    else for await (const bytes of piece.read()) await write(bytes);
  }
  await flush();
}

/** The model as one file in memory; throws `TOO_LARGE` above 2 GB. */
export async function encodeOnnx(model: OnnxModel): Promise<Uint8Array> {
  const plan = await planOnnx(model, { externalData: false });
  const out = new Uint8Array(plan.model.byteLength);
  let at = 0;
  await writeMessage(plan.model, {
    async write(bytes) {
      out.set(bytes, at);
      at += bytes.length;
    },
  });
  return out;
}
