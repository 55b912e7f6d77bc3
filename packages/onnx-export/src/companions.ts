import type { ByteSource, ModelFolder } from "@loomweight/checkpoint";
import type { Task } from "@loomweight/models";
import type { ExportWarning } from "./report.ts";
import type { ExportTarget } from "./targets/target.ts";

/** A file beside the graphs: copied as it is, or written anew. */
export type CompanionFile = { readonly source: ByteSource } | { readonly text: string };

type Json = Readonly<Record<string, unknown>>;

/**
 * The files that the target's runtime reads beside the graphs, and those that travel along: tokenizer, processor and
 * generation settings, licence, README. config.json is not among them. What transformers.js would miss is filled in:
 * generation settings from config.json, a chat template that stands in a file of its own, that text begins with a special
 * token.
 */
export async function companionsFor(
  folder: ModelFolder,
  task: Task,
  target: ExportTarget = "transformers.js",
): Promise<{ files: Map<string, CompanionFile>; warnings: ExportWarning[] }> {
  const files = new Map<string, CompanionFile>();
  const warnings: ExportWarning[] = [];
  for (const [name, source] of folder.files) if (name !== "config.json") files.set(name, { source });

  if (generates.has(task) && !files.has("generation_config.json")) {
    files.set("generation_config.json", { text: toJson(generationDefaults(folder.config ?? {})) });
  }
  const images = ofImages.has(task) || (task === "feature-extraction" && files.has("preprocessor_config.json"));
  if (images) await checkImageProcessor(folder, files, warnings);
  if (task === "automatic-speech-recognition") checkSoundProcessor(files, warnings);
  if (!images || task === "zero-shot-image-classification") await checkTokenizer(folder, task, target, files, warnings);
  return { files, warnings };
}

const generates: ReadonlySet<Task> = new Set([
  "text-generation",
  "text2text-generation",
  "automatic-speech-recognition",
]);
const ofImages: ReadonlySet<Task> = new Set([
  "image-classification",
  "image-feature-extraction",
  "zero-shot-image-classification",
]);

/** Settings as config.json has them: transformers.js takes them from generation_config.json only. */
function generationDefaults(config: Json): Json {
  const fields = generationFields.filter((field) => config[field] != null);
  return Object.fromEntries(fields.map((field) => [field, config[field]]));
}

const generationFields = [
  "bos_token_id",
  "eos_token_id",
  "pad_token_id",
  "decoder_start_token_id",
  "forced_bos_token_id",
  "forced_eos_token_id",
  "forced_decoder_ids",
  "suppress_tokens",
  "begin_suppress_tokens",
  "max_length",
  "min_length",
  "no_repeat_ngram_size",
];

async function checkTokenizer(
  folder: ModelFolder,
  task: Task,
  target: ExportTarget,
  files: Map<string, CompanionFile>,
  warnings: ExportWarning[],
): Promise<void> {
  const reader = target === "genai" ? "onnxruntime-genai" : "transformers.js";
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    if (files.has(name)) continue;
    warnings.push({
      code: "MISSING_TOKENIZER",
      message: `${name} is missing, and ${reader} needs it: save the model's tokenizer in its fast form and copy the file here.`,
    });
  }
  // onnxruntime-genai reads a template's own file and the tokenizer's settings as they are
  if (!files.has("tokenizer_config.json") || target === "genai") return;
  const settings = await folder.readJson("tokenizer_config.json");
  const added: Record<string, unknown> = {};
  // transformers.js reads the template from the tokenizer's settings only
  if (files.has("chat_template.jinja") && settings.chat_template == null) {
    added.chat_template = await folder.readText("chat_template.jinja");
  }
  // its text-generation pipeline leaves special tokens out unless this says otherwise; transformers puts them in
  const unsaid = settings.add_bos_token == null && settings.add_eos_token == null;
  if (task === "text-generation" && unsaid && files.has("tokenizer.json")) {
    if (putsTokensInFront((await folder.readJson("tokenizer.json")).post_processor)) added.add_bos_token = true;
  }
  if (Object.keys(added).length > 0) {
    files.set("tokenizer_config.json", { text: toJson({ ...settings, ...added }) });
  }
}

/** Whether a tokenizer's post-processor puts special tokens in front of a single text. */
function putsTokensInFront(processor: unknown): boolean {
  if (typeof processor !== "object" || processor === null) return false;
  const { processors, single } = processor as Json;
  if (Array.isArray(processors)) return processors.some(putsTokensInFront);
  return Array.isArray(single) && typeof single[0] === "object" && single[0] !== null && "SpecialToken" in single[0];
}

/** What turns sound into features. */
function checkSoundProcessor(files: ReadonlyMap<string, CompanionFile>, warnings: ExportWarning[]): void {
  const name = "preprocessor_config.json";
  if (files.has(name)) return;
  warnings.push({
    code: "MISSING_PROCESSOR",
    message: `${name} is missing, and transformers.js needs it to turn sound into features: copy it from the model's repository.`,
  });
}

async function checkImageProcessor(
  folder: ModelFolder,
  files: Map<string, CompanionFile>,
  warnings: ExportWarning[],
): Promise<void> {
  const name = "preprocessor_config.json";
  if (!files.has(name)) {
    warnings.push({
      code: "MISSING_PROCESSOR",
      message: `${name} is missing, and transformers.js needs it to turn images into pixel values: copy it from the model's repository.`,
    });
    return;
  }
  const settings = await folder.readJson(name);
  const config = folder.config ?? {};
  const added: Record<string, unknown> = {};
  if (settings.image_processor_type == null && settings.feature_extractor_type == null) {
    added.image_processor_type = "ViTImageProcessor";
  }
  if (settings.size == null && settings.image_size == null && typeof config.image_size === "number") {
    added.size = { height: config.image_size, width: config.image_size };
  }
  if (config.num_channels === 1) {
    // its default is to make three channels of every image
    if (settings.do_convert_rgb !== false) added.do_convert_rgb = false;
    warnings.push({
      code: "GRAYSCALE_INPUT",
      message:
        "The model reads images of one channel, which transformers.js does not make by itself: pass `image.grayscale()`.",
    });
  }
  if (Object.keys(added).length > 0) files.set(name, { text: toJson({ ...settings, ...added }) });
}

/** JSON as transformers writes it: two spaces, a newline at the end. */
export function toJson(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}
