import * as transformers from "@huggingface/transformers";
import { type PipelineRequest, runRequest } from "../pipelines/run-request.ts";

Object.assign(globalThis, {
  /** Whether this browser has a GPU, of software or not, that pages may use. */
  async hasWebgpu() {
    const { gpu } = navigator as unknown as { gpu?: { requestAdapter(): Promise<unknown> } };
    return (await gpu?.requestAdapter().catch(() => null)) != null;
  },
  runRequest: (request: PipelineRequest, load: Record<string, unknown>) => runRequest(transformers, request, load),
});
const { env } = transformers;
env.allowRemoteModels = false;
env.allowLocalModels = true;
env.useBrowserCache = false;
env.localModelPath = "/models/"; // a URL of its own would pass for a remote place
const wasm = env.backends.onnx.wasm as { wasmPaths: string; numThreads: number };
wasm.wasmPaths = new URL("ort/", location.href).href;
wasm.numThreads = 1;
document.title = "ready";
