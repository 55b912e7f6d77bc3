import type { ModelFolder, OutputFolder } from "@loomweight/checkpoint";
import { specialTokenIds } from "./plan/config.ts";
import type { MergePlan, PlannedTokenizer } from "./plan/plan.ts";

/** Files that say something about the old weights and not about the merged ones. */
const leftBehind = /^(config|adapter_config|quantize_config|hf_quant_config)\.json$|^(readme|model_card|modelcard)\b/i;
/** Vocabularies in other formats: they would contradict a tokenizer.json that has other tokens. */
const otherVocabularies =
  /^(tokenizer\.model|vocab|merges|added_tokens|bpe|dict|entity_vocab|emoji|tekken)|\.(model|spm|tiktoken)$/;
const tokenizerFiles = /^(tokenizer[\w.-]*|special_tokens_map\.json)$/;
const chatTemplates = /^(chat_template|additional_chat_templates\/)/;
const isTokenizerFile = (name: string) =>
  tokenizerFiles.test(name) || otherVocabularies.test(name) || chatTemplates.test(name);

/**
 * Writes what belongs to the weights: config.json, the companion files of the model that the configuration comes from,
 * and the tokenizer and chat template that the recipe asks for.
 * @param models all models that are no documents, by the key of their reference
 */
export async function writeCompanions(
  output: Pick<OutputFolder, "writeFile" | "copyFile">,
  plan: MergePlan,
  models: ReadonlyMap<string, { readonly folder: ModelFolder }>,
): Promise<void> {
  if (plan.config === undefined) return; // plain state dicts have no companions
  await output.writeFile("config.json", json(plan.config));
  const donor = donorOf(plan, models);
  const source = tokenizerSource(plan, models);
  const template = chatTemplateOf(plan);
  const replaced = new Map<string, string>();
  if (source.planned?.changed) replaced.set("tokenizer.json", json(source.planned.file));
  const settings = await tokenizerSettings(source, template);
  if (settings !== undefined) replaced.set("tokenizer_config.json", settings);
  if (template !== undefined) replaced.set("chat_template.jinja", template);
  if (source.folder !== donor) {
    const generation = await generationConfig(donor, source.folder);
    if (generation !== undefined) replaced.set("generation_config.json", generation);
  }
  for (const [name, file] of donor.files) {
    if (!leftBehind.test(name) && !isTokenizerFile(name) && !replaced.has(name)) await output.copyFile(name, file);
  }
  for (const [name, file] of source.folder.files) {
    if (!isTokenizerFile(name) || replaced.has(name)) continue;
    if (source.planned?.changed && otherVocabularies.test(name)) continue;
    if (template !== undefined && name === "chat_template.json") continue;
    await output.copyFile(name, file);
  }
  for (const [name, text] of replaced) await output.writeFile(name, text);
}

/** The folder whose config.json and companions a plan takes: that of its donor, through documents. */
function donorOf(plan: MergePlan, models: ReadonlyMap<string, { readonly folder: ModelFolder }>): ModelFolder {
  const document = plan.documents?.[plan.donor];
  if (document !== undefined) return donorOf(document, models);
  return (models.get(plan.models[plan.donor]) as { readonly folder: ModelFolder }).folder;
}

interface TokenizerSource {
  readonly folder: ModelFolder;
  readonly planned: PlannedTokenizer | undefined;
}

/** Where the tokenizer comes from, and what was planned about it: by this document, or by those it is made from. */
function tokenizerSource(
  plan: MergePlan,
  models: ReadonlyMap<string, { readonly folder: ModelFolder }>,
): TokenizerSource {
  const index = plan.tokenizer?.donor ?? plan.donor;
  const document = plan.documents?.[index];
  if (document === undefined) {
    return {
      folder: (models.get(plan.models[index]) as { readonly folder: ModelFolder }).folder,
      planned: plan.tokenizer,
    };
  }
  const inner = tokenizerSource(document, models);
  if (plan.tokenizer === undefined) return inner;
  const changed = plan.tokenizer.changed || (inner.planned?.changed ?? false);
  return { folder: inner.folder, planned: { ...plan.tokenizer, changed } };
}

function chatTemplateOf(plan: MergePlan): string | undefined {
  if (plan.chatTemplate !== undefined) return plan.chatTemplate;
  const document = plan.documents?.[plan.tokenizer?.donor ?? plan.donor];
  return document === undefined ? undefined : chatTemplateOf(document);
}

/** tokenizer_config.json where it has to change: other added tokens, another chat template. */
async function tokenizerSettings(
  { folder, planned }: TokenizerSource,
  template: string | undefined,
): Promise<string | undefined> {
  if (!folder.files.has("tokenizer_config.json")) return undefined;
  const config: Record<string, unknown> = { ...(await folder.readJson("tokenizer_config.json")) };
  const lists = planned?.changed === true && isObject(config.added_tokens_decoder);
  const hasTemplate = template !== undefined && config.chat_template !== undefined;
  if (!lists && !hasTemplate) return undefined;
  if (lists) config.added_tokens_decoder = addedTokensDecoder(planned.file.added_tokens);
  // Some loaders look here first; there must be one template only.
  if (hasTemplate) config.chat_template = template;
  return json(config);
}

function addedTokensDecoder(tokens: unknown): Record<string, unknown> {
  const entries = (Array.isArray(tokens) ? tokens : []).map(({ id, content, lstrip, normalized, rstrip, ...rest }) => [
    String(id),
    { content, lstrip, normalized, rstrip, single_word: rest.single_word, special: rest.special },
  ]);
  return Object.fromEntries(entries);
}

/** generation_config.json with the special tokens of the model that gives the tokenizer. */
async function generationConfig(donor: ModelFolder, tokenizer: ModelFolder): Promise<string | undefined> {
  const name = "generation_config.json";
  if (!donor.files.has(name)) return undefined;
  const stated = tokenizer.files.has(name) ? await tokenizer.readJson(name) : (tokenizer.config ?? {});
  return json({ ...(await donor.readJson(name)), ...specialTokenIds(stated) });
}

function json(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
