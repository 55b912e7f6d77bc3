import type { ModelFolder } from "@loomweight/checkpoint";
import type { Pooling, PoolingMode } from "@loomweight/models";
import { LoomweightError } from "@loomweight/tensor";
import type { ExportWarning } from "./report.ts";

type Json = Readonly<Record<string, unknown>>;

/** Flags of 1_Pooling/config.json, in the order in which their vectors are joined, and what each stands for. */
const flags: readonly (readonly [flag: string, mode: PoolingMode])[] = [
  ["pooling_mode_cls_token", "cls"],
  ["pooling_mode_max_tokens", "max"],
  ["pooling_mode_mean_tokens", "mean"],
  ["pooling_mode_mean_sqrt_len_tokens", "mean_sqrt_len"],
  ["pooling_mode_weightedmean_tokens", "weightedmean"],
  ["pooling_mode_lasttoken", "lasttoken"],
];

/**
 * What a sentence-transformers folder says about pooling: modules.json and 1_Pooling/config.json. undefined where the folder
 * is none, or where it does what is not built; the warning then says so.
 */
export async function sentencePooling(folder: ModelFolder): Promise<{ pooling?: Pooling; warnings: ExportWarning[] }> {
  if (!folder.files.has("modules.json")) return { warnings: [] };
  const types = moduleTypes(await folder.readText("modules.json"), folder.location);
  const unknown = types.filter((type) => !["Transformer", "Pooling", "Normalize"].includes(type));
  if (unknown.length > 0) return { warnings: [notPooled(`a module ${unknown.join(", ")}`)] };
  if (!types.includes("Pooling")) return { warnings: [] };
  const file = "1_Pooling/config.json";
  if (!folder.files.has(file)) return { warnings: [notPooled(`no ${file}`)] };
  const settings = await folder.readJson(file);
  if (settings.include_prompt === false) return { warnings: [notPooled("a prompt that pooling leaves out")] };
  const named = typeof settings.pooling_mode === "string" ? [settings.pooling_mode] : [];
  const modes = named.length > 0 ? named : flags.filter(([flag]) => settings[flag] === true).map(([, mode]) => mode);
  const known = flags.map(([, mode]) => mode as string);
  if (modes.length === 0 || modes.some((mode) => !known.includes(mode))) {
    return { warnings: [notPooled(`the pooling mode ${modes.join(", ") || "none"}`)] };
  }
  return { pooling: { modes: modes as PoolingMode[], normalize: types.includes("Normalize") }, warnings: [] };
}

/** The last parts of the modules' class names, in their order. Throws `INVALID_JSON`. */
function moduleTypes(text: string, location: string): string[] {
  let modules: unknown;
  try {
    modules = JSON.parse(text);
  } catch (cause) {
    throw invalidModules(location, "no JSON", cause);
  }
  if (!Array.isArray(modules)) throw invalidModules(location, typeof modules);
  return modules.map((each) => String((each as Json | null)?.type ?? "").replace(/^.*\./, ""));
}

function invalidModules(location: string, found: string, cause?: unknown): LoomweightError {
  return new LoomweightError({
    code: "INVALID_JSON",
    problem: "modules.json cannot be read",
    file: location,
    expected: "a list of modules",
    found,
    cause,
  });
}

function notPooled(what: string): ExportWarning {
  return {
    code: "SENTENCE_POOLING_NOT_BUILT",
    message: `The folder is of sentence-transformers and has ${what}, which the graph does not compute: it gives last_hidden_state, without sentence_embedding.`,
  };
}
