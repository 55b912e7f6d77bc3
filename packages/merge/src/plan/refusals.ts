import { LoomweightError } from "@loomweight/tensor";
import type { Recipe } from "../recipe/recipe.ts";
import type { PlanModel } from "./plan-merge.ts";

/** Throws where models cannot share one recipe: other architectures, or weights that are codes of a quantization. */
export function refuseUnlikeModels(recipe: Recipe, folders: readonly PlanModel[]): void {
  const [first] = folders;
  for (const folder of folders) {
    const [expected, found] = [first, folder].map(architectureOf);
    if (expected !== undefined && found !== undefined && expected !== found) {
      throw new LoomweightError({
        code: "ARCHITECTURES_DIFFER",
        problem: "models of different architectures cannot be merged",
        expected: `${expected} as ${first.location}`,
        found: `${found} (${folder.location})`,
        file: recipe.file,
      });
    }
    const quantization = folder.config?.quantization_config;
    if (typeof quantization === "object" && quantization !== null && recipe.method.name !== "passthrough") {
      const method = (quantization as Record<string, unknown>).quant_method;
      throw new LoomweightError({
        code: "QUANTIZED_MODEL",
        problem: `${folder.location} is quantized (${String(method ?? "quantization_config")}): its codes are no weights`,
        fix: "Merge the models before quantizing, or use passthrough.",
        file: recipe.file,
      });
    }
  }
}

function architectureOf({ config }: PlanModel): string | undefined {
  const architectures = config?.architectures;
  const [name] = Array.isArray(architectures) ? architectures : [];
  if (typeof name === "string") return name;
  return typeof config?.model_type === "string" ? config.model_type : undefined;
}
