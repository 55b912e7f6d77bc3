import type { SafetensorsPlan } from "@loomweight/checkpoint";
import type { WireError } from "@loomweight/tensor";
import type { MethodReference } from "./method-reference.ts";
import type { MergeInputs } from "./open-merge.ts";

/** What a merge worker is told at its start: plain data. It opens its own files and kernels and makes its own plan. */
export interface WorkerTask {
  readonly inputs: Omit<MergeInputs, "methods">;
  /** Methods that the recipe may name. */
  readonly methods: readonly MethodReference[];
  /** Digest of the caller's plan, which its own must have. */
  readonly planDigest: string;
  /** What the models' files looked like when that plan was made. */
  readonly sources: Readonly<Record<string, string>>;
  /** The folder with the files of `layout`, created by the caller. */
  readonly outputPath: string;
  readonly layout: SafetensorsPlan;
  readonly seed: number | undefined;
  readonly allowNonFinite: boolean | undefined;
  /** Tensors that it works on at once. */
  readonly concurrency: number;
  /** Most bytes of weights in flight in each thread. */
  readonly memory: number;
  /** The compiled kernels; undefined where the engine has none. */
  readonly kernelModule: WebAssembly.Module | undefined;
}

/** From the main thread: merge these tensors (indices into the plan), stop at the next tile, or end when all is done. */
export type WorkerRequest =
  | { readonly kind: "merge"; readonly tensors: readonly number[] }
  | { readonly kind: "stop" }
  | { readonly kind: "end" };

/** From a worker: bytes of a tensor were written, a tensor is whole, or it has ended (after a failure: with its error). */
export type WorkerReport =
  | { readonly kind: "written"; readonly tensor: number; readonly bytes: number }
  | { readonly kind: "finished"; readonly tensor: number }
  | { readonly kind: "ended"; readonly failure?: WireError };
