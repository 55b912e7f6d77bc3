import { LoomweightError } from "@loomweight/tensor";
import type { TokenizerSettings, TokenSource } from "../tokenizer/vocabulary.ts";
import { isLocatedMap, type Located, type Place } from "./located.ts";
import { type ModelReference, readModelReference } from "./model-reference.ts";
import { itemAt, mapping, requireKnownKeys, textAt, wrongKind } from "./read.ts";

/** What a recipe says about the tokenizer of its result. */
export interface RecipeTokenizer {
  /** Models by the key of their reference. */
  readonly settings: TokenizerSettings;
  /** Models that the settings name: they must take part in the merge. */
  readonly references: readonly ModelReference[];
  readonly place: Place;
}

/** A padded vocabulary beyond this is no vocabulary. */
const maxMultiple = 1_000_000;

/**
 * Reads `tokenizer_source: base | union | MODEL` or `tokenizer: { source, tokens, pad_to_multiple_of }`; undefined
 * where neither is given. Throws `INVALID_RECIPE` where both are, and with line and column for everything malformed.
 */
export function readTokenizer(root: Located): RecipeTokenizer | undefined {
  const short = itemAt(root, "tokenizer_source");
  const long = itemAt(root, "tokenizer");
  if (short !== undefined && long !== undefined) {
    throw new LoomweightError({
      code: "INVALID_RECIPE",
      problem: "tokenizer_source and tokenizer are both given",
      fix: "Keep one of them.",
      ...long.place,
    });
  }
  const references: ModelReference[] = [];
  if (short !== undefined) {
    return { settings: { source: readSource(short, "tokenizer_source", references) }, references, place: short.place };
  }
  if (long === undefined) return undefined;
  requireKnownKeys(long, "tokenizer", ["source", "tokens", "pad_to_multiple_of"]);
  const source = itemAt(long, "source");
  const tokens = itemAt(long, "tokens");
  return {
    settings: {
      source: source === undefined ? "union" : readSource(source, "source", references),
      tokens: tokens === undefined ? undefined : readTokens(tokens, references),
      padToMultipleOf: readMultiple(long),
    },
    references,
    place: long.place,
  };
}

function readSource(located: Located, key: string, references: ModelReference[]): string {
  if (located.value === "base" || located.value === "union") return located.value;
  return readModel(located, key, references);
}

function readModel(located: Located, key: string, references: ModelReference[]): string {
  const reference = readModelReference(located, key);
  references.push(reference);
  return reference.key;
}

function readTokens(located: Located, references: ModelReference[]): TokenizerSettings["tokens"] {
  const tokens = new Map<string, { source?: TokenSource; force?: boolean }>();
  for (const [token, { item, keyPlace }] of mapping(located, "tokens")) {
    if (token === "") throw wrongKind({ value: token, place: keyPlace }, "a token", "text that is not empty");
    // `token:` with nothing behind it only makes sure that the vocabulary has it.
    if (item.value === null) {
      tokens.set(token, {});
      continue;
    }
    requireKnownKeys(item, "token", ["source", "force"]);
    const source = itemAt(item, "source");
    const force = itemAt(item, "force");
    if (force !== undefined && typeof force.value !== "boolean") throw wrongKind(force, "force", "true or false");
    tokens.set(token, {
      ...(source !== undefined && { source: readTokenSource(source, references) }),
      ...(force !== undefined && { force: force.value === true }),
    });
  }
  return tokens;
}

function readTokenSource(located: Located, references: ModelReference[]): TokenSource {
  const kind = isLocatedMap(located.value) ? textAt(located, "kind") : undefined;
  if (kind === undefined) return { kind: "model", model: readModel(located, "source", references) };
  if (kind === "zero") {
    requireKnownKeys(located, "source of kind zero", ["kind"]);
    return { kind: "zero" };
  }
  if (kind !== "model_token") {
    throw wrongKind(
      itemAt(located, "kind") ?? located,
      "the kind of a token's source",
      "model_token or zero (a model is named without kind)",
    );
  }
  requireKnownKeys(located, "source of kind model_token", ["kind", "model", "token", "token_id"]);
  const model = itemAt(located, "model");
  if (model === undefined) throw wrongKind(located, "a model_token without model", "model: path");
  const token = textAt(located, "token");
  const id = itemAt(located, "token_id");
  if ((token === undefined) === (id === undefined)) {
    throw new LoomweightError({
      code: "INVALID_RECIPE",
      problem: `a model_token ${token === undefined ? "has neither token nor token_id" : "has both token and token_id"}`,
      fix: "Give one of them: the token's text, or its number.",
      ...(id?.place ?? located.place),
    });
  }
  const key = readModel(model, "model", references);
  if (id === undefined) return { kind: "model_token", model: key, token };
  if (typeof id.value !== "number" || !Number.isSafeInteger(id.value) || id.value < 0) {
    throw wrongKind(id, "token_id", "a whole number, at least 0");
  }
  return { kind: "model_token", model: key, tokenId: id.value };
}

function readMultiple(located: Located): number | undefined {
  const item = itemAt(located, "pad_to_multiple_of");
  if (item === undefined) return undefined;
  const { value } = item;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 1 && value <= maxMultiple) return value;
  throw wrongKind(item, "pad_to_multiple_of", `a whole number from 1 to ${maxMultiple}`);
}
