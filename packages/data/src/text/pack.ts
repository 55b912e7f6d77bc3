import { fromData, invalidOption, type Tensor } from "@loomweight/tensor";
import { ignoredLabel, type TokenBatch, type Tokens, tokenBatch } from "./pad.ts";

/** Packed texts: a batch that also says which text each token is of. */
export interface PackedBatch extends TokenBatch {
  /** int64 [rows, length]: the text's place within its row, from 1; 0 at padding. Tokens attend within their own. */
  readonly segment_ids: Tensor<"int64">;
}

export interface PackOptions {
  /** Tokens of a row. */
  readonly length: number;
  readonly padId: number;
  /**
   * `whole` (default): texts stay whole, placed where they fit best, longer ones are cut into rows of their own.
   * `stream`: texts are joined to one stream and cut at every `length`; a text may go on in the next row.
   */
  readonly mode?: "whole" | "stream";
  /** Put after every text in `stream`: the model's end token. */
  readonly endId?: number;
}

/** A stretch of a text and where it lies in its row. */
interface Piece {
  readonly text: number;
  readonly from: number;
  readonly count: number;
}

/**
 * Texts packed into rows without padding between them: positions start at 0 in every text, a text's first token does
 * not count in the loss (nothing of its own text precedes it). Throws `INVALID_OPTION`.
 */
export function packTokens(texts: readonly Tokens[], options: PackOptions): PackedBatch {
  const { length, padId, mode = "whole", endId } = options;
  if (!Number.isInteger(length) || length < 2)
    throw invalidOption({ option: "length" }, length, "a whole number of at least 2");
  const joined = mode === "stream" && endId !== undefined ? texts.map((text) => [...Array.from(text), endId]) : texts;
  const rows = mode === "whole" ? placeWhole(joined, length) : cutStream(joined, length);
  const codes = [BigInt(padId), 0n, 0n, BigInt(ignoredLabel), 0n].map((value) =>
    new BigInt64Array(rows.length * length).fill(value),
  );
  const [ids, mask, positions, labels, segments] = codes;
  for (const [row, pieces] of rows.entries()) {
    let at = row * length;
    for (const [index, { text, from, count }] of pieces.entries()) {
      for (let i = 0; i < count; i++, at++) {
        const token = BigInt(joined[text][from + i]);
        ids[at] = token;
        mask[at] = 1n;
        positions[at] = BigInt(i);
        segments[at] = BigInt(index + 1);
        if (i > 0) labels[at] = token;
      }
    }
  }
  const shape = [rows.length, length];
  return { ...tokenBatch(shape, { ids, mask, positions, labels }), segment_ids: fromData("int64", segments, shape) };
}

/** Longest first, each into the fullest row that still has room: within 22 % of the fewest rows possible. */
function placeWhole(texts: readonly Tokens[], length: number): Piece[][] {
  const pieces: Piece[] = [];
  for (const [text, tokens] of texts.entries()) {
    for (let from = 0; from < tokens.length; from += length) {
      pieces.push({ text, from, count: Math.min(length, tokens.length - from) });
    }
  }
  pieces.sort((a, b) => b.count - a.count || a.text - b.text || a.from - b.from);
  const rows: Piece[][] = [];
  // Rows by the room they have left, so that a place is found without looking at every row.
  const byRoom: number[][] = Array.from({ length: length + 1 }, () => []);
  for (const piece of pieces) {
    let room = piece.count;
    while (room <= length && byRoom[room].length === 0) room++;
    const row = room <= length ? (byRoom[room].pop() as number) : rows.push([]) - 1;
    rows[row].push(piece);
    byRoom[Math.min(room, length) - piece.count].push(row);
  }
  return rows;
}

function cutStream(texts: readonly Tokens[], length: number): Piece[][] {
  const rows: Piece[][] = [];
  let room = 0;
  for (const [text, tokens] of texts.entries()) {
    for (let from = 0; from < tokens.length; ) {
      if (room === 0) {
        rows.push([]);
        room = length;
      }
      const count = Math.min(room, tokens.length - from);
      rows[rows.length - 1].push({ text, from, count });
      from += count;
      room -= count;
    }
  }
  return rows;
}
