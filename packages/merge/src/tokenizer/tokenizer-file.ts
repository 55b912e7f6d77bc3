import { LoomweightError } from "@loomweight/tensor/errors";

type JsonObject = Readonly<Record<string, unknown>>;

/** An entry of `added_tokens` in tokenizer.json. */
export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly single_word: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  readonly normalized: boolean;
  readonly special: boolean;
}

/** A parsed tokenizer.json with what a merge needs to know of it. */
export interface TokenizerFile {
  readonly json: JsonObject;
  /** "BPE", "WordPiece", "WordLevel" or "Unigram". */
  readonly type: string;
  /** Token → id, added tokens included. */
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly added: readonly AddedToken[];
}

/** More tokens than any published vocabulary, to bound memory before a hostile file is walked. */
const tokenLimit = 16_000_000;

/**
 * Reads a tokenizer.json object strictly enough that the merge can rely on it.
 * Throws `INVALID_TOKENIZER`, naming `file`, for ids that are not whole numbers, tokens with two ids, or a model type
 * whose vocabulary is unknown.
 */
export function readTokenizerFile(json: JsonObject, file: string): TokenizerFile {
  const model = json.model;
  if (!isObject(model)) throw invalid(file, "no model object", 'a "model" object', describe(model));
  const vocabulary = new Map<string, number>();
  const put = (token: unknown, id: unknown) => {
    if (typeof token !== "string") throw invalid(file, "a token is not text", "text", describe(token));
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= tokenLimit) {
      throw invalid(
        file,
        `token ${JSON.stringify(token)} has no usable id`,
        `a whole number below ${tokenLimit}`,
        describe(id),
      );
    }
    const before = vocabulary.get(token);
    if (before !== undefined && before !== id) {
      throw invalid(file, `token ${JSON.stringify(token)} has two ids`, `one id`, `${before} and ${id}`);
    }
    vocabulary.set(token, id);
  };
  const vocab = model.vocab;
  if (Array.isArray(vocab)) {
    vocab.forEach((entry, id) => {
      put(Array.isArray(entry) ? entry[0] : entry, id);
    });
  } else if (isObject(vocab)) {
    for (const token of Object.keys(vocab)) put(token, vocab[token]);
  } else throw invalid(file, "the model has no vocabulary", "an object or a list", describe(vocab));

  const added: AddedToken[] = [];
  const list = json.added_tokens ?? [];
  if (!Array.isArray(list)) throw invalid(file, "added_tokens is malformed", "a list", describe(list));
  for (const entry of list) {
    if (!isObject(entry)) throw invalid(file, "an added token is malformed", "an object", describe(entry));
    put(entry.content, entry.id);
    added.push({
      id: entry.id as number,
      content: entry.content as string,
      single_word: entry.single_word === true,
      lstrip: entry.lstrip === true,
      rstrip: entry.rstrip === true,
      normalized: entry.normalized === true,
      special: entry.special === true,
    });
  }
  // Older files leave the type out; only BPE has merges.
  const type = typeof model.type === "string" ? model.type : Array.isArray(model.merges) ? "BPE" : "WordPiece";
  return { json, type, vocabulary, added };
}

/** The file with these added tokens in place of its own. */
export function withAddedTokens(file: TokenizerFile, added: readonly AddedToken[]): JsonObject {
  return { ...file.json, added_tokens: [...added].sort((a, b) => a.id - b.id) };
}

/** How a token that the text model does not know is registered: as transformers' `add_tokens` does for plain text. */
export function plainAddedToken(content: string, id: number): AddedToken {
  return { id, content, single_word: false, lstrip: false, rstrip: false, normalized: true, special: false };
}

/**
 * The file without tokens whose id is `limit` or more (rows the model does not have). Only BPE vocabularies can be cut;
 * a merge that produces a token that goes is an error, since encoding would then yield it.
 */
export function withoutTokensFrom(file: TokenizerFile, limit: number, name: string): TokenizerFile {
  const gone = [...file.vocabulary].filter(([, id]) => id >= limit).map(([token]) => token);
  if (gone.length === 0) return file;
  const fix = `Set the tokenizer's vocabulary and the model's vocab_size (${limit}) to agree, or name another tokenizer source.`;
  const model = file.json.model as JsonObject;
  const addedOnly = gone.filter((token) => !hasToken(model.vocab, token));
  if (addedOnly.length < gone.length && file.type !== "BPE") {
    throw invalid(
      name,
      `${gone.length} tokens have ids at or beyond the model's vocab_size`,
      `ids below ${limit}`,
      JSON.stringify(gone[0]),
      fix,
    );
  }
  const lost = new Set(gone);
  for (const merge of (model.merges as unknown[] | undefined) ?? []) {
    const pair = Array.isArray(merge) ? merge.map(String) : String(merge).split(" ");
    if (lost.has(pair.join(""))) {
      throw invalid(
        name,
        `the merge "${pair.join(" ")}" produces a token beyond the model's vocab_size`,
        `ids below ${limit}`,
        JSON.stringify(pair.join("")),
        fix,
      );
    }
  }
  const vocab = Object.fromEntries(
    Object.entries(model.vocab as Record<string, number>).filter(([token]) => !lost.has(token)),
  );
  const json = {
    ...file.json,
    model: { ...model, vocab },
    added_tokens: file.added.filter((token) => token.id < limit),
  };
  return readTokenizerFile(json, name);
}

function hasToken(vocab: unknown, token: string): boolean {
  return isObject(vocab) && Object.hasOwn(vocab, token);
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function describe(value: unknown): string {
  return value === undefined ? "nothing" : (JSON.stringify(value) ?? String(value)).slice(0, 80);
}

function invalid(file: string, problem: string, expected: string, found: string, fix?: string): LoomweightError {
  return new LoomweightError({ code: "INVALID_TOKENIZER", problem, file, expected, found, fix });
}
