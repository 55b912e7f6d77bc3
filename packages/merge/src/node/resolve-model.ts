import { stat } from "node:fs/promises";
import { dirname, isAbsolute, resolve } from "node:path";
import { LoomweightError } from "@loomweight/tensor";
import type { Place } from "../recipe/located.ts";

/**
 * The folder (or file) that a recipe's path means: relative to the recipe's own folder where that exists, else to the
 * `folder` (default the working folder). Names of the Hugging Face Hub are not downloaded. Throws `MODEL_NOT_FOUND`.
 */
export async function resolveModelPath(path: string, place: Place, folder = "."): Promise<string> {
  const candidates = isAbsolute(path)
    ? [path]
    : [...(place.file === undefined ? [] : [resolve(dirname(place.file), path)]), resolve(folder, path)];
  for (const candidate of candidates) {
    if ((await stat(candidate).catch(() => undefined)) !== undefined) return candidate;
  }
  const isHubName = /^[\w.-]+\/[\w.-]+$/.test(path);
  throw new LoomweightError({
    code: "MODEL_NOT_FOUND",
    problem: `there is no model at "${path}"`,
    expected: `a folder, looked for at ${[...new Set(candidates)].join(" and ")}`,
    fix: isHubName
      ? `Models are read from local folders. Were it a model of the Hugging Face Hub, get it with: hf download ${path} --local-dir ${path}`
      : "Check the path.",
    ...place,
  });
}
