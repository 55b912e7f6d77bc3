import type { ModelFolder } from "@loomweight/checkpoint";
import type { PlanModel } from "./plan/plan-merge.ts";
import type { RecipeDocuments } from "./recipe/documents.ts";
import { readTokenizerFile } from "./tokenizer/tokenizer-file.ts";

/**
 * Opened models as planning sees them, `models` by the key of their reference: with tokenizers and chat templates where
 * a document asks for them. Throws `INVALID_TOKENIZER`, and what reading companion files throws.
 */
export async function planModels(
  { documents }: RecipeDocuments,
  models: ReadonlyMap<string, { readonly folder: ModelFolder }>,
): Promise<ReadonlyMap<string, PlanModel>> {
  const needsTokenizers = documents.some(({ tokenizer }) => tokenizer !== undefined);
  const needsTemplates = documents.some(({ chatTemplate }) => chatTemplate?.setting === "auto");
  const result = new Map<string, PlanModel>();
  for (const [key, { folder }] of models) {
    result.set(key, {
      location: folder.location,
      checkpoint: folder.checkpoint,
      config: folder.config,
      tokenizer:
        needsTokenizers && folder.files.has("tokenizer.json")
          ? readTokenizerFile(await folder.readJson("tokenizer.json"), `${key}/tokenizer.json`)
          : undefined,
      chatTemplate: needsTemplates ? await chatTemplateOf(folder) : undefined,
    });
  }
  return result;
}

/** The chat template of a model: a file of its own, or an entry of tokenizer_config.json (of a list: the default). */
async function chatTemplateOf(folder: ModelFolder): Promise<string | undefined> {
  if (folder.files.has("chat_template.jinja")) return folder.readText("chat_template.jinja");
  if (!folder.files.has("tokenizer_config.json")) return undefined;
  const { chat_template: template } = await folder.readJson("tokenizer_config.json");
  if (typeof template === "string") return template;
  const named = (Array.isArray(template) ? template : []).find((each) => each?.name === "default");
  return typeof named?.template === "string" ? named.template : undefined;
}
