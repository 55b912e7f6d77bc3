import type { Engine, OrtModule } from "../runtime/engine.ts";
import { MissingEngine } from "../runtime/serve.ts";

/** onnxruntime-web in the build that has the wanted providers, or the module that was given. */
export async function loadWeb(providers: readonly string[], given?: unknown): Promise<Engine> {
  const ort = (given ?? (await importOrt(providers))) as OrtModule & { default?: OrtModule };
  const module = ort.InferenceSession === undefined && ort.default !== undefined ? ort.default : ort;
  // Outputs come out of WebAssembly memory by a copy in any case; memory handed in is not written to.
  return { ort: module, writesInPlace: false, readsDevice: true };
}

async function importOrt(providers: readonly string[]): Promise<unknown> {
  try {
    return providers.includes("webgpu") ? await import("onnxruntime-web/webgpu") : await import("onnxruntime-web");
  } catch (cause) {
    throw new MissingEngine(cause instanceof Error ? cause.message : String(cause));
  }
}
