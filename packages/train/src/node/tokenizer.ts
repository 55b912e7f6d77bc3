import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { runInNewContext } from "node:vm";
import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { parseJsonObject } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";

/** One turn of a conversation. */
export interface ChatMessage {
  readonly role: string;
  readonly content: string;
}

/** Text to tokens, as training needs it. */
export interface TrainTokenizer {
  /** With the special tokens that the model wants around a text. */
  encode(text: string, specialTokens?: boolean): number[];
  /** A conversation as one text. Throws `MISSING_TEMPLATE`, `TEMPLATE_FAILED`. */
  chat(messages: readonly ChatMessage[], addGenerationPrompt?: boolean): string;
  readonly endId: number | undefined;
  readonly padId: number;
}

const longestChat = 2_000_000;
const templateMilliseconds = 2000;

/** The tokenizer of a folder: tokenizer.json, tokenizer_config.json and its chat template. Throws `MISSING_FILE`, `INVALID_TOKENIZER`. */
export async function openTrainTokenizer(folder: string): Promise<TrainTokenizer> {
  const file = join(folder, "tokenizer.json");
  const description = await readJson(file);
  if (description === undefined) {
    throw new LoomweightError({
      code: "MISSING_FILE",
      file,
      problem: "there is no tokenizer that can be read here",
      fix: "Save it as tokenizer.json (transformers: tokenizer.save_pretrained with a fast tokenizer), or give `tokenizer`.",
    });
  }
  const config = (await readJson(join(folder, "tokenizer_config.json"))) ?? {};
  const tokenizer = opened(description, config, file);
  const special = (name: string): string | undefined => {
    const value = config[name];
    if (typeof value === "string") return value;
    const content = (value as { content?: unknown } | null | undefined)?.content;
    return typeof content === "string" ? content : undefined;
  };
  const idOf = (token: string | undefined) => (token === undefined ? undefined : tokenizer.token_to_id(token));
  const endId = idOf(special("eos_token"));
  const own = await readFile(join(folder, "chat_template.jinja"), "utf8").catch(() => undefined);
  const template = own ?? (typeof config.chat_template === "string" ? config.chat_template : undefined);
  let parsed: Template | undefined;
  return {
    endId,
    padId: idOf(special("pad_token")) ?? endId ?? 0,
    encode: (text, specialTokens = true) => tokenizer.encode(text, { add_special_tokens: specialTokens }).ids,
    chat(messages, addGenerationPrompt = false) {
      if (template === undefined) {
        throw new LoomweightError({
          code: "MISSING_TEMPLATE",
          file: folder,
          problem: "the data holds conversations, and the tokenizer has no chat template",
          expected: "chat_template.jinja, or chat_template in tokenizer_config.json",
        });
      }
      const render = (): string => {
        parsed ??= new Template(template);
        return parsed.render({
          messages: messages.map((message) => ({ ...message })),
          add_generation_prompt: addGenerationPrompt,
          bos_token: special("bos_token") ?? "",
          eos_token: special("eos_token") ?? "",
          pad_token: special("pad_token") ?? "",
        });
      };
      try {
        // A template is code of whoever made the model: it may loop for ever.
        const text = runInNewContext("render()", { render }, { timeout: templateMilliseconds }) as string;
        if (text.length <= longestChat) return text;
        throw new Error(`${text.length} characters`);
      } catch (cause) {
        throw new LoomweightError({
          code: "TEMPLATE_FAILED",
          file: folder,
          problem: "the chat template gives no text for a conversation",
          found: cause instanceof Error ? cause.message.slice(0, 200) : String(cause),
          cause,
        });
      }
    },
  };
}

function opened(description: object, config: object, file: string): Tokenizer {
  try {
    return new Tokenizer(description, config);
  } catch (cause) {
    throw new LoomweightError({
      code: "INVALID_TOKENIZER",
      file,
      problem: "the tokenizer cannot be used",
      found: cause instanceof Error ? cause.message : String(cause),
      cause,
    });
  }
}

async function readJson(file: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  const bytes = await readFile(file).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "ENOENT") throw cause;
    return undefined;
  });
  return bytes === undefined ? undefined : parseJsonObject(bytes, file);
}
