import { join } from "node:path";
import { readFixtureJson } from "@loomweight/fixtures";

interface TokenizerJson {
  readonly model: { readonly vocab: Readonly<Record<string, number>> };
  readonly added_tokens: readonly { readonly id: number; readonly content: string }[];
}

/** Token → number, as a folder's tokenizer.json has it. */
export function vocabularyOf(folder: string): Map<string, number> {
  const { model, added_tokens } = readFixtureJson<TokenizerJson>(join(folder, "tokenizer.json"));
  return new Map([
    ...Object.entries(model.vocab),
    ...added_tokens.map(({ id, content }): [string, number] => [content, id]),
  ]);
}

/**
 * The row of `found` that holds the token of a row of `expected`: unions append tokens in an order that varies.
 * Padding rows keep their place.
 */
export function matchRows(found: string, expected: string): (row: number) => number {
  const rows = vocabularyOf(found);
  const tokens = new Map([...vocabularyOf(expected)].map(([token, id]) => [id, token]));
  return (row) => {
    const token = tokens.get(row);
    return token === undefined ? row : (rows.get(token) ?? Number.NaN);
  };
}

/** These rows of a matrix, one after the other. */
export function withRows(values: Float64Array, [, width]: readonly number[], rows: readonly number[]): Float64Array {
  const picked = new Float64Array(rows.length * width);
  for (const [index, row] of rows.entries()) {
    picked.set(values.subarray(row * width, (row + 1) * width), index * width);
  }
  return picked;
}
