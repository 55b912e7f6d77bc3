import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { saveSafetensors } from "@loomweight/checkpoint/node";
import { cast, type DType, fromData, type OptionSpecs, type Tensor } from "@loomweight/tensor";
import { type AnyMergeMethod, recipeSpelling } from "../src/define.ts";

export interface SmallModelOptions {
  readonly layers?: number;
  readonly width?: number;
  readonly vocabulary?: number;
  readonly dtype?: DType;
}

/**
 * Writes a base model and fine-tunes of it (`base`, `tuned-1`, `tuned-2`, …) into `folder`: an embedding
 * [vocabulary, width], layers of two matrices and a norm, a last norm, and a count of whole numbers.
 */
export async function writeSmallModels(folder: string, models: number, options: SmallModelOptions = {}): Promise<void> {
  const { layers = 3, width = 24, vocabulary = 40, dtype = "bfloat16" } = options;
  for (let model = 0; model <= models; model++) {
    const path = join(folder, model === 0 ? "base" : `tuned-${model}`);
    const base = randomNumbers(1);
    const own = randomNumbers(model + 2);
    const tensors = new Map<string, Tensor>();
    const put = (name: string, shape: readonly number[], offset = 0) => {
      const size = shape.reduce((product, axis) => product * axis, 1);
      const numbers = Float32Array.from(
        { length: size },
        () => offset + 0.1 * base() + (model === 0 ? 0 : 0.02 * own()),
      );
      tensors.set(name, cast(fromData("float32", numbers, shape), dtype));
    };
    put("model.embed_tokens.weight", [vocabulary, width]);
    for (let layer = 0; layer < layers; layer++) {
      put(`model.layers.${layer}.mlp.down_proj.weight`, [width, 2 * width]);
      put(`model.layers.${layer}.mlp.up_proj.weight`, [2 * width, width]);
      put(`model.layers.${layer}.input_layernorm.weight`, [width], 1);
    }
    put("model.norm.weight", [width], 1);
    tensors.set("model.steps", fromData("int32", Int32Array.of(7), [1]));
    mkdirSync(path, { recursive: true });
    await saveSafetensors(join(path, "model.safetensors"), tensors, { force: true });
    writeFileSync(
      join(path, "config.json"),
      JSON.stringify({ model_type: "llama", num_hidden_layers: layers, vocab_size: vocabulary, dtype }),
    );
    writeFileSync(join(path, "generation_config.json"), '{"do_sample":false}');
  }
}

/** The recipe of a method over the models of `writeSmallModels` (two of them where it takes two), with no more settings than it needs. */
export function smallRecipe(method: AnyMergeMethod): object {
  const { needs } = method;
  const count = Math.max(needs.models.min, Math.min(2, needs.models.max ?? 2));
  const names = Array.from({ length: count }, (_, i) => `tuned-${i + 1}`);
  return {
    merge_method: method.name.replaceAll("-", "_"),
    models: names.map((model) => ({ model, parameters: requiredOptions(method.inputOptions) })),
    ...(needs.base === "required" && { base_model: "base" }),
    parameters: requiredOptions(method.options),
  };
}

/** A value for every option that has no default. */
function requiredOptions(specs: OptionSpecs): Record<string, unknown> {
  const required = Object.entries(specs).filter(([, spec]) => spec.default === undefined);
  const valueFor = { number: 0.5, integer: 1, boolean: true, choice: undefined, text: "x" };
  return Object.fromEntries(
    required.map(([name, { kind, choices }]) => [recipeSpelling(name), valueFor[kind] ?? choices?.[0]]),
  );
}

/** Every file below a folder with its bytes. */
export function folderBytes(path: string): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  const walk = (folder: string) => {
    for (const name of readdirSync(folder).sort()) {
      const file = join(folder, name);
      if (statSync(file).isDirectory()) walk(file);
      else files.set(relative(path, file), readFileSync(file));
    }
  };
  walk(path);
  return files;
}

/** Names of the files that differ between two folders. */
export function differingFiles(a: string, b: string): string[] {
  const [left, right] = [folderBytes(a), folderBytes(b)];
  const names = [...new Set([...left.keys(), ...right.keys()])];
  return names.filter((name) => {
    const [own, other] = [left.get(name), right.get(name)];
    return own === undefined || other === undefined || !own.equals(other);
  });
}

/** Numbers around 0 with a deviation near 1, from a seed. */
function randomNumbers(seed: number): () => number {
  let state = Math.imul(seed, 0x9e3779b9) | 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2 ** 31;
  };
  return () => 1.22 * (next() + next());
}
