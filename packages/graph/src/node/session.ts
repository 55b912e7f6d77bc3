import { Worker } from "node:worker_threads";
import { type DType, LoomweightError, type Tensor, unknownName } from "@loomweight/tensor";
import { checkFeeds, fromWire, type SessionValue, wireTensor } from "../runtime/feeds.ts";
import type { WireTensor } from "../runtime/protocol.ts";
import type { Request, Response, WireMetadata } from "./session-protocol.ts";
import { workerUrl } from "./worker-url.ts";

export type { SessionValue } from "../runtime/feeds.ts";

/** A model loaded into onnxruntime, in a thread of its own. */
export interface Session {
  readonly inputs: readonly SessionValue[];
  readonly outputs: readonly SessionValue[];
  /**
   * Runs the model; runs of one session follow one another. Default: all outputs. Throws `UNKNOWN_INPUT`,
   * `MISSING_INPUT`, `DTYPE_MISMATCH`, `SHAPE_MISMATCH`, `RUN_FAILED`, `SESSION_CLOSED`.
   */
  run(feeds: Readonly<Record<string, Tensor>>, options?: SessionRunOptions): Promise<Record<string, Tensor>>;
  /** Frees it, after the runs already asked for. Idempotent. */
  close(): Promise<void>;
}

export interface SessionRunOptions {
  /** Names of the outputs that are computed; default all. */
  readonly outputs?: readonly string[];
  /**
   * Outputs that do not come back: they stay in the session's thread, and the next run feeds them to the inputs named
   * here, unless it is given others. A decoder's cache is then never copied: { "present.0.key": "past_key_values.0.key" }.
   * A run takes what the last one left; what it does not keep itself is gone after it, also when it fails.
   */
  readonly keep?: Readonly<Record<string, string>>;
}

export interface SessionOptions {
  /** Threads inside one operator; default: onnxruntime's choice, one per physical core. */
  readonly threads?: number;
  /** Execution providers in order of preference; default ["cpu"]. */
  readonly providers?: readonly string[];
  /** External data of a model given as bytes: file name in the model → its content. */
  readonly externalData?: Readonly<Record<string, Uint8Array>>;
  /** Any other option of onnxruntime's session. */
  readonly sessionOptions?: Readonly<Record<string, unknown>>;
}

/** The release that this package is tested with. */
export const onnxruntimeVersion = "1.30.0";

const installFix = `Install it: npm install onnxruntime-node@${onnxruntimeVersion}`;

/**
 * Loads a model (a path, or its bytes) with onnxruntime-node in a worker thread, so that the caller's event loop stays
 * free. Throws `RUNTIME_MISSING` with the install line when onnxruntime-node is not installed, `WORKER_NOT_BUILT`,
 * `LOAD_FAILED`, `UNSUPPORTED_DTYPE` for inputs or outputs that JavaScript cannot hold (bfloat16, float8).
 */
export async function openSession(model: string | Uint8Array, options: SessionOptions = {}): Promise<Session> {
  const { threads, providers = ["cpu"], externalData, sessionOptions } = options;
  const where = typeof model === "string" ? model : undefined;
  const channel = openChannel();
  const settings = {
    executionProviders: [...providers],
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
    ...(externalData === undefined
      ? {}
      : { externalData: Object.entries(externalData).map(([path, data]) => ({ path, data })) }),
    ...sessionOptions,
  };
  const opened = await channel.ask({ kind: "open", model, options: settings }).catch((cause: unknown) => {
    channel.end();
    throw cause;
  });
  if (opened.kind !== "opened") {
    await channel.ask({ kind: "close" });
    throw openFault(opened, where);
  }
  const inputs = opened.inputs.map(sessionValue);
  const outputs = opened.outputs.map(sessionValue);
  let closing: Promise<void> | undefined;
  /** Inputs that the thread feeds with what the last run left there. */
  let kept: ReadonlySet<string> = new Set();
  return {
    inputs,
    outputs,
    async run(feeds, { outputs: wanted, keep = {} } = {}) {
      if (closing !== undefined) {
        throw new LoomweightError({ code: "SESSION_CLOSED", problem: "the session is closed", file: where });
      }
      const needed = inputs.filter(({ name }) => !kept.has(name) || Object.hasOwn(feeds, name));
      checkFeeds(needed, feeds, where);
      for (const name of [...(wanted ?? []), ...Object.keys(keep)]) checkName("output", name, outputs, where);
      for (const name of Object.values(keep)) checkName("input", name, inputs, where);
      const wire = Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, sessionTensor(tensor)]));
      kept = new Set(Object.values(keep));
      const asked = wanted && [...new Set([...wanted, ...Object.keys(keep)])];
      const ran = await channel.ask({ kind: "run", feeds: wire, outputs: asked, keep });
      if (ran.kind !== "ran") {
        kept = new Set();
        throw runFault(ran, where);
      }
      return Object.fromEntries(Object.entries(ran.outputs).map(([name, tensor]) => [name, sessionOutput(tensor)]));
    },
    close() {
      closing ??= channel.ask({ kind: "close" }).then(() => {});
      return closing;
    },
  };
}

function checkName(kind: "input" | "output", name: string, values: readonly SessionValue[], file?: string): void {
  const known = values.map((each) => each.name);
  if (known.includes(name)) return;
  throw unknownName({ kind, name, known, code: kind === "input" ? "UNKNOWN_INPUT" : "UNKNOWN_OUTPUT", file });
}

/** A request without the number it is answered under. */
type Question = Request extends infer R ? (R extends unknown ? Omit<R, "id"> : never) : never;

interface Channel {
  ask(question: Question): Promise<Response>;
  /** Lets the thread end. */
  end(): void;
}

function openChannel(): Channel {
  const worker = new Worker(workerUrl(import.meta.url, "session-worker.js", "the session's thread"));
  const waiting = new Map<number, { resolve: (response: Response) => void; reject: (cause: unknown) => void }>();
  let count = 0;
  let ended: LoomweightError | undefined;
  worker.unref(); // an idle session keeps no program alive
  worker.on("message", (response: Response) => {
    waiting.get(response.id)?.resolve(response);
    waiting.delete(response.id);
    if (waiting.size === 0) worker.unref();
  });
  const fail = (cause?: unknown) => {
    ended ??= new LoomweightError({
      code: "SESSION_CLOSED",
      problem: cause === undefined ? "the session's thread has ended" : `the session's thread failed: ${String(cause)}`,
      cause,
    });
    for (const { reject } of waiting.values()) reject(ended);
    waiting.clear();
  };
  worker.on("error", fail);
  worker.on("exit", () => fail());
  return {
    ask(question) {
      if (ended !== undefined) return Promise.reject(ended);
      const id = count++;
      return new Promise((resolve, reject) => {
        waiting.set(id, { resolve, reject });
        worker.ref();
        worker.postMessage({ ...question, id });
      });
    },
    end: () => worker.unref(),
  };
}

function openFault(response: Response, file: string | undefined): LoomweightError {
  const message = response.kind === "failed" ? response.message : "no answer";
  if (response.kind === "failed" && response.reason === "missing") {
    return new LoomweightError({
      code: "RUNTIME_MISSING",
      problem: `running a model needs onnxruntime-node, which does not load: ${message.split("\n")[0]}`,
      fix: installFix,
    });
  }
  const type = /Unsupported data type: (\d+)/.exec(message)?.[1];
  if (type !== undefined) {
    const name = type === "16" ? "bfloat16" : `ONNX type ${type}`;
    return new LoomweightError({
      code: "UNSUPPORTED_DTYPE",
      problem: `an input or output of the model is ${name}, which onnxruntime-node cannot pass`,
      file,
      fix: "Cast it to float32 inside the graph.",
    });
  }
  return new LoomweightError({ code: "LOAD_FAILED", problem: `onnxruntime does not load the model: ${message}`, file });
}

function runFault(response: Response, file: string | undefined): LoomweightError {
  const message = response.kind === "failed" ? response.message : "no answer";
  return new LoomweightError({ code: "RUN_FAILED", problem: `onnxruntime: ${message}`, file });
}

function sessionValue({ name, type, shape }: WireMetadata): SessionValue {
  return { name, dtype: type as DType, shape: shape.map((dim) => (dim === "" || dim === undefined ? "?" : dim)) };
}

function sessionTensor(tensor: Tensor): WireTensor {
  if (tensor.dtype === "float16" && "Float16Array" in globalThis) throw brokenFloat16();
  if (tensor.dtype !== "bfloat16") return wireTensor(tensor);
  throw new LoomweightError({
    code: "UNSUPPORTED_DTYPE",
    problem: "onnxruntime-node cannot pass bfloat16 tensors",
    fix: "Cast it to float32 inside the graph.",
  });
}

function brokenFloat16(): LoomweightError {
  return new LoomweightError({
    code: "UNSUPPORTED_DTYPE",
    problem: `onnxruntime-node ${onnxruntimeVersion} cannot pass float16 tensors on this version of Node (${process.version})`,
    fix: "Cast to and from float32 inside the graph, or use Node 20 or 22.",
  });
}

function sessionOutput(wire: WireTensor): Tensor {
  if (wire.type === "float16" && !(wire.data instanceof Uint16Array)) throw brokenFloat16();
  return fromWire(wire);
}
