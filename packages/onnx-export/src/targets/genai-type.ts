import type { Task } from "@loomweight/models";
import { LoomweightError } from "@loomweight/tensor";

/**
 * The `model.type` by which onnxruntime-genai knows a family, where it has one. Its "gpt2" is not among them: it expects
 * keys and values in one tensor.
 * Source: src/models/model_type.h and model.cpp of onnxruntime-genai, August 2026.
 */
const genaiTypes: Readonly<Record<string, string>> = {
  gemma: "gemma",
  gemma2: "gemma2",
  gemma3: "gemma3_text",
  granite: "granite",
  llama: "llama",
  mistral: "mistral",
  phi: "phi",
  phi3: "phi3",
  qwen2: "qwen2",
  qwen3: "qwen3",
  smollm3: "smollm3",
};

/** Its type for any decoder with a cache. */
const anyDecoder = "decoder";

/**
 * The `model.type` of a family: its own, or "decoder". Throws `UNSUPPORTED_TARGET` for what is no decoder: onnxruntime-genai
 * writes text, and nothing else of what is built here.
 */
export function genaiType(family: string, task: Task): string {
  if (task === "text-generation") return Object.hasOwn(genaiTypes, family) ? genaiTypes[family] : anyDecoder;
  const whisper = family === "whisper" ? "; it takes Whisper only with caches of another layout" : "";
  throw new LoomweightError({
    code: "UNSUPPORTED_TARGET",
    option: "target",
    problem: `onnxruntime-genai does not run ${family} for ${task}${whisper}`,
    expected: `text-generation: ${Object.keys(genaiTypes).join(", ")}, or another decoder with a cache`,
    fix: 'Export it with the target "transformers.js": onnxruntime itself loads those files, too.',
  });
}
