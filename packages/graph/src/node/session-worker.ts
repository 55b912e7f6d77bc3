import { type MessagePort, parentPort } from "node:worker_threads";
import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import type { WireTensor } from "../runtime/protocol.ts";
import type { Request, Response, WireMetadata } from "./session-protocol.ts";

type Runtime = typeof import("onnxruntime-node");

/** What a session's thread holds between requests. */
interface Held {
  runtime?: Runtime;
  session?: InferenceSession;
  /** Outputs of the last run that stay here, by the input that the next run feeds them to. */
  kept?: Readonly<Record<string, OrtTensor>>;
}

/** Answers requests one after the other: a run is never cut off by a close. */
function serve(port: MessagePort): void {
  const held: Held = {};
  let last: Promise<void> = Promise.resolve();
  port.on("message", (request: Request) => {
    last = last.then(async () => {
      const { response, transfer } = await answer(held, request);
      port.postMessage(response, transfer);
      // With no port to listen on the thread ends by itself; it is never terminated.
      if (request.kind === "close") port.close();
    });
  });
}

async function answer(held: Held, request: Request): Promise<{ response: Response; transfer: ArrayBuffer[] }> {
  const { id } = request;
  try {
    if (request.kind === "open") {
      held.runtime = await loadRuntime();
      const { InferenceSession } = held.runtime;
      const { model, options } = request;
      held.session = await (typeof model === "string"
        ? InferenceSession.create(model, options)
        : InferenceSession.create(model, options));
      const { inputMetadata, outputMetadata } = held.session;
      return {
        response: { id, kind: "opened", inputs: inputMetadata.map(plain), outputs: outputMetadata.map(plain) },
        transfer: [],
      };
    }
    if (request.kind === "run") return await run(held, request);
    await held.session?.release();
    return { response: { id, kind: "closed" }, transfer: [] };
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    const reason = cause instanceof MissingRuntime ? "missing" : "error";
    return { response: { id, kind: "failed", reason, message }, transfer: [] };
  }
}

/** Tells a runtime that is not installed from one that fails. */
class MissingRuntime extends Error {}

async function loadRuntime(): Promise<Runtime> {
  try {
    const loaded: Runtime & { default?: Runtime } = await import("onnxruntime-node");
    return loaded.InferenceSession === undefined && loaded.default !== undefined ? loaded.default : loaded;
  } catch (cause) {
    throw new MissingRuntime(cause instanceof Error ? cause.message : String(cause));
  }
}

function plain(metadata: InferenceSession.ValueMetadata): WireMetadata {
  if (!metadata.isTensor) return { name: metadata.name, type: "not a tensor", shape: [] };
  return { name: metadata.name, type: metadata.type, shape: [...metadata.shape] };
}

async function run(
  held: Held,
  { id, feeds, outputs, keep = {} }: Request & { kind: "run" },
): Promise<{ response: Response; transfer: ArrayBuffer[] }> {
  const { runtime, session } = held;
  if (runtime === undefined || session === undefined) throw new Error("the session is not open");
  const given: Record<string, OrtTensor> = { ...held.kept };
  held.kept = undefined;
  for (const [name, { type, data, dims }] of Object.entries(feeds)) {
    given[name] = new runtime.Tensor(type as OrtTensor.Type, data as OrtTensor["data"], dims);
  }
  const results = outputs === undefined ? await session.run(given) : await session.run(given, [...outputs]);
  const wire: Record<string, WireTensor> = {};
  const transfer: ArrayBuffer[] = [];
  const kept: Record<string, OrtTensor> = {};
  for (const [name, result] of Object.entries(results)) {
    if (Object.hasOwn(keep, name)) {
      kept[keep[name]] = result as OrtTensor;
      continue;
    }
    const { type, data, dims } = result;
    if (Array.isArray(data)) {
      wire[name] = { type, data, dims };
      continue;
    }
    // A copy of its own: outputs may be views of memory that cannot be handed over.
    const own = (data as Float32Array).slice();
    wire[name] = { type, data: own, dims };
    transfer.push(own.buffer as ArrayBuffer);
  }
  held.kept = kept;
  return { response: { id, kind: "ran", outputs: wire }, transfer };
}

if (parentPort !== null) serve(parentPort);
