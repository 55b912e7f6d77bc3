import { type Checkpoint, type FileSet, fileSetFromMap, writeSafetensors } from "@loomweight/checkpoint";
import { fromData, type Tensor } from "@loomweight/tensor";
import { type OpenFoldedOptions, openAdapter, openFolded } from "../src/index.ts";
import { testRandom } from "./contract.ts";
import { memoryCheckpoint } from "./memory.ts";

/** A float32 tensor of test numbers. */
export function weights(name: string, shape: readonly number[]): Tensor<"float32"> {
  return testRandom().uniform(name, shape, -1, 1);
}

/** A model of two layers: embedding [7, 4], q_proj [4, 4], up_proj [6, 4] with bias, norm, lm_head [7, 4]. */
export function smallModel(without: readonly string[] = []): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  const put = (name: string, shape: readonly number[]) => {
    if (!without.includes(name)) tensors.set(name, weights(name, shape));
  };
  put("model.embed_tokens.weight", [7, 4]);
  for (const layer of [0, 1]) {
    put(`model.layers.${layer}.self_attn.q_proj.weight`, [4, 4]);
    put(`model.layers.${layer}.mlp.up_proj.weight`, [6, 4]);
    put(`model.layers.${layer}.mlp.up_proj.bias`, [6]);
    put(`model.layers.${layer}.input_layernorm.weight`, [4]);
  }
  put("model.norm.weight", [4]);
  put("lm_head.weight", [7, 4]);
  return tensors;
}

export const smallConfig = { model_type: "llama", architectures: ["LlamaForCausalLM"], tie_word_embeddings: false };

/** LoRA rank 2 on q_proj and up_proj. */
export function smallAdapter(): { config: Record<string, unknown>; tensors: Map<string, Tensor> } {
  const tensors = new Map<string, Tensor>();
  for (const layer of [0, 1]) {
    for (const [name, out] of [
      ["self_attn.q_proj", 4],
      ["mlp.up_proj", 6],
    ] as const) {
      const prefix = `base_model.model.model.layers.${layer}.${name}`;
      tensors.set(`${prefix}.lora_A.weight`, weights(`${prefix}A`, [2, 4]));
      tensors.set(`${prefix}.lora_B.weight`, weights(`${prefix}B`, [out, 2]));
    }
  }
  return { config: { peft_type: "LORA", r: 2, lora_alpha: 4, target_modules: ["q_proj", "up_proj"] }, tensors };
}

/** A PEFT folder in memory. */
export function adapterFolder(config: unknown, tensors: ReadonlyMap<string, Tensor>, location = "adapter"): FileSet {
  const text = typeof config === "string" ? config : JSON.stringify(config);
  const files = new Map([
    ["adapter_config.json", new TextEncoder().encode(text)],
    ["adapter_model.safetensors", writeSafetensors(tensors)],
  ]);
  return fileSetFromMap(files, location);
}

/** Folds in memory. */
export async function foldSmall(
  base: ReadonlyMap<string, Tensor>,
  folders: readonly FileSet[],
  options: OpenFoldedOptions = {},
  config: Record<string, unknown> = smallConfig,
): Promise<
  Checkpoint & { readonly warnings: readonly string[]; readonly configChanges: Readonly<Record<string, unknown>> }
> {
  return openFolded(await memoryCheckpoint(base, "base.safetensors"), config, folders, options);
}

export { openAdapter };

/** Every tensor of a checkpoint. */
export async function readAll(checkpoint: Checkpoint): Promise<Map<string, Tensor>> {
  const all = new Map<string, Tensor>();
  for (const name of checkpoint.tensors.keys()) all.set(name, await checkpoint.read(name));
  return all;
}

/** A float32 tensor from rows. */
export function float32(values: readonly number[], shape: readonly number[]): Tensor<"float32"> {
  return fromData("float32", Float32Array.from(values), shape);
}
