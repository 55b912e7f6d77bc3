import { createRuntime } from "@loomweight/graph/web";
import * as ort from "onnxruntime-web/wasm";
import { adaptedStream } from "../adapted-stream.ts";

// What runs in the browser: the same stream as in Node, through onnxruntime-web.
ort.env.wasm.wasmPaths = new URL("ort/", location.href).href;
ort.env.wasm.numThreads = 1;

Object.assign(globalThis, {
  async adapted() {
    const runtime = await createRuntime({ ort });
    const found = await adaptedStream(runtime);
    await runtime.close();
    return found;
  },
});
document.title = "ready";
