import type { DType, Tensor } from "@loomweight/tensor";
import type { GraphValue, LazyTensor, Value } from "../value.ts";

/** onnxruntime in a place of its own (a thread, a page, a worker of a page): runs graphs over tensors that stay there. */
export interface Runtime {
  /** Execution providers in order of preference. */
  readonly providers: readonly string[];
  /**
   * Hands tensors over to the runtime: it owns copies of them, on the device where there is one. Throws
   * `UNSUPPORTED_DTYPE`.
   */
  state(tensors: Readonly<Record<string, Tensor | LazyTensor>>): Promise<State>;
  /**
   * Loads the graph behind some values. Parameters whose names are in `state` are read from it at every run; the others
   * are weights of the graph, fixed from now on. Throws what `assemble` throws, `UNKNOWN_STATE`, `SHAPE_MISMATCH`,
   * `DTYPE_MISMATCH`, `LOAD_FAILED`, `UNSUPPORTED_DTYPE`, `RUNTIME_CLOSED`.
   */
  compile(options: CompileOptions, state?: State): Promise<Program>;
  /** Values computed once: compiled, run and freed. */
  evaluate(
    outputs: Readonly<Record<string, Value>>,
    feeds?: Readonly<Record<string, Tensor>>,
    state?: State,
  ): Promise<Record<string, Tensor>>;
  /** Frees everything after the runs already asked for. Idempotent. */
  close(): Promise<void>;
}

/** Tensors by name that live in the runtime. */
export interface State {
  readonly tensors: ReadonlyMap<string, StateTensor>;
  /** Copies; default all. Throws `UNKNOWN_STATE`. */
  read(names?: readonly string[]): Promise<Record<string, Tensor>>;
  /** Replaces tensors by others of the same dtype and shape. Throws `UNKNOWN_STATE`, `SHAPE_MISMATCH`, `DTYPE_MISMATCH`. */
  write(tensors: Readonly<Record<string, Tensor>>): Promise<void>;
  /** A second state with the present values. */
  snapshot(): Promise<State>;
  /**
   * Takes back what the latest run that updated it did; once, and only until the next run begins. Throws
   * `NOTHING_TO_UNDO`.
   */
  undo(): Promise<void>;
  close(): Promise<void>;
}

export interface StateTensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

export interface CompileOptions {
  /** Inputs fed at every run, by list or by name; default those that the outputs and updates need. */
  readonly inputs?: readonly GraphValue[] | Readonly<Record<string, GraphValue>>;
  /** Values given back by `run`. */
  readonly outputs?: Readonly<Record<string, Value>>;
  /** Next values of tensors of the state, by their names. They replace the present ones when the run ends. */
  readonly update?: Readonly<Record<string, Value>>;
  /** Name of the graph; default "program". */
  readonly name?: string;
}

/** A graph that is loaded and runs as often as wanted. */
export interface Program {
  /** What `run` must be fed. */
  readonly inputs: readonly {
    readonly name: string;
    readonly dtype: DType;
    readonly shape: readonly (number | string)[];
  }[];
  /**
   * One run; runs of a runtime follow one another in the order they were asked for. A signal that is aborted before the
   * run begins keeps it from running; one that has begun ends. Throws `UNKNOWN_INPUT`, `MISSING_INPUT`,
   * `DTYPE_MISMATCH`, `SHAPE_MISMATCH`, `UNKNOWN_OUTPUT`, `RUN_FAILED`, `ABORTED`, `RUNTIME_CLOSED`.
   */
  run(feeds?: Readonly<Record<string, Tensor>>, options?: RunOptions): Promise<Record<string, Tensor>>;
  close(): Promise<void>;
}

export interface RunOptions {
  /** Default: all outputs. */
  readonly outputs?: readonly string[];
  readonly signal?: AbortSignal;
}
