import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Tokenizer } from "@huggingface/tokenizers";
import { parseJsonObject } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor/errors";

/** Text to tokens and back. */
export interface TextTokenizer {
  /** With the special tokens that the model wants around a text. */
  encode(text: string): number[];
  /** Without special tokens. */
  decode(ids: readonly number[]): string;
}

/** The tokenizer of a folder, from its tokenizer.json and tokenizer_config.json. Throws `MISSING_FILE`, `INVALID_TOKENIZER`. */
export async function openTokenizer(folder: string): Promise<TextTokenizer> {
  const read = async (name: string) => {
    const file = join(folder, name);
    const bytes = await readFile(file).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code !== "ENOENT") throw cause;
      return undefined;
    });
    return bytes === undefined ? undefined : parseJsonObject(bytes, file);
  };
  const file = join(folder, "tokenizer.json");
  const description = await read("tokenizer.json");
  if (description === undefined) {
    throw new LoomweightError({
      code: "MISSING_FILE",
      file,
      problem: "the model has no tokenizer that can be read here",
      fix: "Save it as tokenizer.json (transformers: tokenizer.save_pretrained with a fast tokenizer).",
    });
  }
  try {
    const tokenizer = new Tokenizer(description, (await read("tokenizer_config.json")) ?? {});
    return {
      encode: (text) => tokenizer.encode(text).ids,
      decode: (ids) => (ids.length === 0 ? "" : tokenizer.decode([...ids], { skip_special_tokens: true })),
    };
  } catch (cause) {
    if (cause instanceof LoomweightError) throw cause;
    throw new LoomweightError({
      code: "INVALID_TOKENIZER",
      file,
      problem: "the tokenizer cannot be used",
      found: cause instanceof Error ? cause.message : String(cause),
      cause,
    });
  }
}
