import { LoomweightError, unknownName } from "@loomweight/tensor/errors";
import {
  type AddedToken,
  plainAddedToken,
  type TokenizerFile,
  withAddedTokens,
  withoutTokensFrom,
} from "./tokenizer-file.ts";

/** One model that takes part, as the vocabulary sees it. */
export interface VocabularyInput {
  /** The reference as the recipe writes it. */
  readonly model: string;
  /** undefined: the model has none and counts as having base's. */
  readonly tokenizer: TokenizerFile | undefined;
  /** Rows of its embedding. */
  readonly rows: number;
}

/** Where the embedding of one token comes from, for inputs that do not own it (or for all, with `force`). */
export type TokenSource =
  | { readonly kind: "model"; readonly model: string }
  | { readonly kind: "model_token"; readonly model: string; readonly token?: string; readonly tokenId?: number }
  | { readonly kind: "zero" };

export interface TokenizerSettings {
  /** "base", "union", or the reference of a model that takes part. */
  readonly source: string;
  readonly tokens?: ReadonlyMap<string, { readonly source?: TokenSource; readonly force?: boolean }>;
  readonly padToMultipleOf?: number;
}

/**
 * How one input's embedding is rebuilt to the output vocabulary: row `i` of the result is row `row[i]` of input
 * `model[i]`, or, where `model[i]` is negative, zeros (`zeroRow`) or the mean of `means[row[i]]` (`meanRow`).
 * Rows from `tokens` on are padding: the mean of the rows before them.
 */
export interface AlignedRows {
  readonly model: Int32Array;
  readonly row: Int32Array;
  readonly means: readonly (readonly { readonly model: number; readonly row: number }[])[];
}

export const zeroRow = -1;
export const meanRow = -2;

export interface VocabularyPlan {
  /** Rows of the output's embedding, padding included. */
  readonly rows: number;
  /** Tokens of the output; `rows - tokens` rows are padding. */
  readonly tokens: number;
  /** The output's tokenizer.json. */
  readonly tokenizer: Readonly<Record<string, unknown>>;
  /** The input whose other tokenizer files travel along. */
  readonly donor: number;
  /** Whether the output has other tokens than the donor's tokenizer, or they are registered in another way. */
  readonly changed: boolean;
  readonly inputs: readonly AlignedRows[];
  readonly warnings: readonly string[];
}

/**
 * Decides the output vocabulary of a merge and, per input, where each row of its embedding comes from.
 *
 * A row that the input owns is its own (unless `force`); otherwise the configured source; else the only owner's row;
 * else base's; else the mean of all owners' rows; a token that nobody owns starts at zero, with a warning.
 * `union` keeps base's tokens at their places and appends the others' in the order listed, added tokens last.
 *
 * @param inputs the models of the merge in the order listed
 * @param base index of the base model; undefined: the first input stands in for it
 * Throws `INVALID_TOKENIZER`, `UNKNOWN_MODEL`, `UNKNOWN_TOKEN`.
 */
export function planVocabulary(
  inputs: readonly VocabularyInput[],
  base: number | undefined,
  settings: TokenizerSettings,
): VocabularyPlan {
  const warnings: string[] = [];
  const donor =
    settings.source === "base" || settings.source === "union" ? (base ?? 0) : findModel(inputs, settings.source);
  const baseIndex = base ?? donor;
  const baseTokenizer = inputs[baseIndex].tokenizer;
  const donorTokenizer = inputs[donor].tokenizer ?? baseTokenizer;
  if (donorTokenizer === undefined) {
    throw new LoomweightError({
      code: "MISSING_FILE",
      problem: `${settings.source} is to give the tokenizer, but has no tokenizer.json`,
      file: inputs[donor].model,
      fix: "Name a model that has one as `tokenizer_source`.",
    });
  }
  const start = withoutTokensFrom(donorTokenizer, inputs[donor].rows, `${inputs[donor].model}/tokenizer.json`);
  const added = new Map<string, AddedToken>(start.added.map((token) => [token.content, token]));
  const output = new Map(start.vocabulary);
  let next = 1 + highestId(start);
  const append = (token: string, as: AddedToken | undefined) => {
    if (output.has(token)) return;
    output.set(token, next);
    added.set(token, as === undefined ? plainAddedToken(token, next) : { ...as, id: next });
    next++;
  };

  // An input without a tokenizer counts as having base's.
  const owned = inputs.map((input) => input.tokenizer ?? baseTokenizer ?? start);
  if (settings.source === "union") {
    const texts = (tokenizer: TokenizerFile) => {
      const known = new Set(tokenizer.added.map((token) => token.content));
      return [...tokenizer.vocabulary].filter(([token]) => !known.has(token)).sort((a, b) => a[1] - b[1]);
    };
    for (const tokenizer of owned) for (const [token] of texts(tokenizer)) append(token, undefined);
    for (const tokenizer of owned) for (const token of tokenizer.added) append(token.content, token);
  }
  for (const token of settings.tokens?.keys() ?? []) {
    append(token, undefined);
    // Named tokens are matched whole wherever they stand, also those that the vocabulary already has.
    if (!added.has(token)) added.set(token, plainAddedToken(token, output.get(token)!));
  }

  const tokens = next;
  const multiple = settings.padToMultipleOf ?? 1;
  const rows = Math.ceil(tokens / multiple) * multiple;
  if (rows < inputs[donor].rows) {
    warnings.push(
      `the vocabulary has ${tokens} tokens, so ${inputs[donor].rows - rows} of the ${inputs[donor].rows} embedding rows of ${inputs[donor].model} ` +
        `are spare and left out; set pad_to_multiple_of under tokenizer to keep a padded size`,
    );
  }
  return {
    rows,
    tokens,
    tokenizer: withAddedTokens(start, [...added.values()]),
    // Without a tokenizer of its own it counts as having base's, and then base has the other files too.
    donor: inputs[donor].tokenizer === undefined ? baseIndex : donor,
    changed: start !== donorTokenizer || added.size > start.added.length,
    inputs: alignRows(inputs, owned, baseIndex, output, tokens, settings, warnings),
    warnings,
  };
}

function alignRows(
  inputs: readonly VocabularyInput[],
  owned: readonly TokenizerFile[],
  base: number,
  output: ReadonlyMap<string, number>,
  tokens: number,
  settings: TokenizerSettings,
  warnings: string[],
): AlignedRows[] {
  const model = inputs.map(() => new Int32Array(tokens).fill(zeroRow));
  const row = inputs.map(() => new Int32Array(tokens));
  const means: { model: number; row: number }[][] = [];
  const orphans: string[] = [];
  for (const [token, id] of output) {
    const own = owned.map((tokenizer, index) => ownRow(tokenizer, inputs[index], token));
    const setting = settings.tokens?.get(token);
    const configured = setting?.source === undefined ? undefined : resolveSource(setting.source, token, inputs, owned);
    const fallback = configured ?? defaultRow(own, base, means);
    if (fallback.model === zeroRow && setting?.source?.kind !== "zero") orphans.push(token);
    for (let index = 0; index < inputs.length; index++) {
      const mine = own[index];
      const chosen = mine !== undefined && setting?.force !== true ? { model: index, row: mine } : fallback;
      model[index][id] = chosen.model;
      row[index][id] = chosen.row;
    }
  }
  if (orphans.length > 0) {
    warnings.push(
      `no model has an embedding for ${orphans
        .slice(0, 5)
        .map((token) => JSON.stringify(token))
        .join(", ")}` +
        `${orphans.length > 5 ? ` and ${orphans.length - 5} more tokens` : ""}: their rows start at zero`,
    );
  }
  return inputs.map((_, index) => ({ model: model[index], row: row[index], means }));
}

function ownRow(tokenizer: TokenizerFile, input: VocabularyInput, token: string): number | undefined {
  const id = tokenizer.vocabulary.get(token);
  if (id === undefined) return undefined;
  if (id >= input.rows) {
    throw new LoomweightError({
      code: "INVALID_TOKENIZER",
      problem: `token ${JSON.stringify(token)} has no embedding row`,
      file: `${input.model}/tokenizer.json`,
      expected: `an id below ${input.rows}`,
      found: String(id),
      fix: "Use the tokenizer that belongs to these weights.",
    });
  }
  return id;
}

function defaultRow(
  own: readonly (number | undefined)[],
  base: number,
  means: { model: number; row: number }[][],
): { model: number; row: number } {
  const owners = own.flatMap((id, index) => (id === undefined ? [] : [{ model: index, row: id }]));
  if (owners.length === 0) return { model: zeroRow, row: 0 };
  if (owners.length === 1) return owners[0];
  const ofBase = own[base];
  if (ofBase !== undefined) return { model: base, row: ofBase };
  means.push(owners);
  return { model: meanRow, row: means.length - 1 };
}

function resolveSource(
  source: TokenSource,
  token: string,
  inputs: readonly VocabularyInput[],
  owned: readonly TokenizerFile[],
): { model: number; row: number } {
  if (source.kind === "zero") return { model: zeroRow, row: 0 };
  const index = findModel(inputs, source.model);
  const wanted = source.kind === "model_token" ? (source.token ?? token) : token;
  const id =
    source.kind === "model_token" && source.tokenId !== undefined
      ? source.tokenId
      : owned[index].vocabulary.get(wanted);
  if (id === undefined || id >= inputs[index].rows) {
    throw unknownName({
      kind: `token of ${source.model}`,
      name: id === undefined ? wanted : `id ${id}`,
      known: owned[index].vocabulary.keys(),
      code: "UNKNOWN_TOKEN",
      option: `tokenizer.tokens[${JSON.stringify(token)}].source`,
      fix: `Name a token that this model has (ids below ${inputs[index].rows}).`,
    });
  }
  return { model: index, row: id };
}

function findModel(inputs: readonly VocabularyInput[], model: string): number {
  const index = inputs.findIndex((input) => input.model === model);
  if (index >= 0) return index;
  // A model that takes part with an adapter may be named without it.
  const adapted = inputs.flatMap((input, at) => (input.model.startsWith(`${model}+`) ? [at] : []));
  if (adapted.length === 1) return adapted[0];
  throw unknownName({
    kind: "model for the tokenizer",
    name: model,
    known: inputs.map((input) => input.model),
    code: "UNKNOWN_MODEL",
    fix: "It must take part in the merge: list it under models or as base_model.",
  });
}

function highestId(tokenizer: TokenizerFile): number {
  let highest = -1;
  for (const id of tokenizer.vocabulary.values()) if (id > highest) highest = id;
  return highest;
}
