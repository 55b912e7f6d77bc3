import type { ModelFolder } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import { LoomweightError } from "@loomweight/tensor";
import type { ModelReference } from "../recipe/model-reference.ts";
import { resolveModelPath } from "./resolve-model.ts";

/** Opens what a recipe names: a model folder, with an adapter folded into it as it is read where one is named. */
export async function openReference({ path, adapter, place }: ModelReference, folder?: string): Promise<ModelFolder> {
  const model = await openModel(await resolveModelPath(path, place, folder));
  if (adapter === undefined) return model;
  throw new LoomweightError({ code: "UNSUPPORTED_RECIPE", problem: "adapters", ...place });
}
