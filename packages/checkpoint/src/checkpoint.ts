import type { DType, Tensor } from "@loomweight/tensor";

/** A tensor of a checkpoint, known from its header; no data has been read. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Bytes of its data. */
  readonly byteLength: number;
  /** Name of the file that holds it, for messages. */
  readonly file: string;
  /** Where its data begins in that file. */
  readonly byteOffset: number;
}

export interface ReadBytesOptions {
  /** First byte, relative to the tensor's data; default 0. */
  readonly start?: number;
  /** One past the last byte; default the tensor's `byteLength`. */
  readonly end?: number;
  /** Where to put them (exactly `end - start` bytes); default a fresh array. */
  readonly into?: Uint8Array;
  readonly signal?: AbortSignal;
}

/** Weights by name, read lazily: opening reads headers only. */
export interface Checkpoint {
  /** Path, URL or label, for messages. */
  readonly location: string;
  /** In the order of the files. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** `__metadata__` of the first file. */
  readonly metadata: Readonly<Record<string, string>>;
  /** Raw little-endian bytes as the file holds them. Throws `UNKNOWN_TENSOR`, `FILE_CHANGED`, `READ_FAILED`. */
  readBytes(name: string, options?: ReadBytesOptions): Promise<Uint8Array>;
  /** The tensor, or rows/elements `range` of it flattened ([start, end) in elements). */
  read(name: string, options?: { range?: { start: number; end: number }; signal?: AbortSignal }): Promise<Tensor>;
  close(): Promise<void>;
}

/** Random access to the bytes of one file, wherever it lies. */
export interface ByteSource {
  /** For messages. */
  readonly name: string;
  readonly size: number;
  /** Bytes [start, end); throws `READ_FAILED` / `FILE_CHANGED` rather than return fewer. */
  read(start: number, end: number, into?: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

/** A Hugging Face folder: weights, configuration, and the companion files that travel along with a model. */
export interface ModelFolder {
  readonly location: string;
  readonly checkpoint: Checkpoint;
  /** Parsed config.json; undefined where there is none. */
  readonly config: Readonly<Record<string, unknown>> | undefined;
  /** Companion files on the allow-list (config, generation config, tokenizer, processor, chat template, licence, README). */
  readonly files: ReadonlyMap<string, ByteSource>;
  /** A companion file as text or JSON; throws `MISSING_FILE` / `INVALID_JSON`. */
  readText(name: string): Promise<string>;
  readJson(name: string): Promise<Readonly<Record<string, unknown>>>;
  close(): Promise<void>;
}

/** A tensor about to be written. */
export interface PlannedTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/**
 * Where every tensor of an output will lie, decided before any data is read: the same input gives the same plan, and
 * writers can work positionally in any order.
 */
export interface SafetensorsPlan {
  readonly files: readonly {
    readonly name: string;
    /** The 8-byte length and the JSON header, padded so that data begins 8-byte aligned. */
    readonly header: Uint8Array;
    /** Whole file. */
    readonly size: number;
  }[];
  /** Tensor name → file index and absolute byte position of its data. */
  readonly tensors: ReadonlyMap<
    string,
    { readonly file: number; readonly position: number; readonly byteLength: number }
  >;
  /** model.safetensors.index.json, when there is more than one file. */
  readonly index: string | undefined;
}

/** Positional writing of a planned safetensors output. */
export interface TensorWriter {
  readonly plan: SafetensorsPlan;
  /** Writes `bytes` of a tensor at `start` (relative to the tensor's data). Any order; each byte once. */
  write(name: string, start: number, bytes: Uint8Array): Promise<void>;
  /** Throws `INCOMPLETE_OUTPUT` unless every byte of every tensor was written; flushes and closes. */
  finish(): Promise<void>;
  /** Closes without checks (the folder it writes in is discarded). */
  abort(): Promise<void>;
}

/**
 * A folder that appears under its final name only when complete: everything is written in a temporary sibling, which
 * `commit` flushes to disk and renames. An existing output is refused unless `force`, which replaces it atomically.
 */
export interface OutputFolder {
  /** The temporary folder to write in. */
  readonly path: string;
  readonly finalPath: string;
  writeFile(name: string, content: Uint8Array | string): Promise<void>;
  copyFile(name: string, source: ByteSource): Promise<void>;
  createWriter(plan: SafetensorsPlan): Promise<TensorWriter>;
  commit(): Promise<void>;
  /** Removes the temporary folder; the previous output, if any, is untouched. Idempotent. */
  discard(): Promise<void>;
  /** `discard` at once, for a process about to end (a signal): the temporary folder goes, open files are left to it. */
  discardSync(): void;
}
