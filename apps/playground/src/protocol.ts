import type { Shelf } from "./models.ts";

/** What a merge worker is to do. Blobs are references: no weights are copied. */
export interface MergeTask {
  readonly recipe: string;
  readonly shelf: Shelf;
  readonly seed: number;
  /** Output tensors that this worker merges. */
  readonly tensors: readonly string[];
  /** Leads to the store. */
  readonly store: MessagePort;
}

/** What a merge worker says. */
export type MergeReport =
  | { readonly kind: "written"; readonly bytes: number }
  | { readonly kind: "done" }
  | { readonly kind: "failed"; readonly failure: Failure };

/** An error as it crosses between threads. */
export interface Failure {
  readonly message: string;
  /** Stable code of a `LoomweightError`; undefined for a fault of this page. */
  readonly code?: string;
  readonly line?: number;
  readonly column?: number;
}

/** A file of the output and how large it will be. */
export interface StoredFile {
  readonly name: string;
  readonly size: number;
}

/** Bytes for a file of the store, at a position; answered with `StoreAnswer` of the same id. */
export interface StoreWrite {
  readonly id: number;
  /** Index of the file. */
  readonly file: number;
  readonly position: number;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface StoreAnswer {
  readonly id: number;
  readonly failure?: Failure;
}

/** Where an output goes: a folder of the origin's private file system, or one that the user chose. */
export type StorePlace =
  | { readonly kind: "page"; readonly folder: string }
  | { readonly kind: "folder"; readonly directory: FileSystemDirectoryHandle };

export type StoreKind = "disk" | "memory" | "folder";

/** What the page asks of the store worker. */
export type StoreRequest =
  | { readonly kind: "open"; readonly place: StorePlace; readonly files: readonly StoredFile[] }
  | { readonly kind: "connect"; readonly port: MessagePort }
  | { readonly kind: "finish" };

/** What the store worker says. */
export type StoreReport =
  | { readonly kind: "opened"; readonly where: StoreKind }
  /** `files` are empty where they lie in a folder of the user's. */
  | { readonly kind: "finished"; readonly files: readonly Blob[] }
  | { readonly kind: "failed"; readonly failure: Failure };

/** An error as plain data. */
export function failureOf(error: unknown): Failure {
  const { message, code, details } = error as {
    readonly message?: unknown;
    readonly code?: unknown;
    readonly details?: { readonly line?: number; readonly column?: number };
  };
  return {
    message: typeof message === "string" ? message : String(error),
    code: typeof code === "string" ? code : undefined,
    line: details?.line,
    column: details?.column,
  };
}
