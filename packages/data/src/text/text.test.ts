import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { packTokens } from "./pack.ts";
import { padTokens } from "./pad.ts";

const rows = (t: { data: BigInt64Array; shape: readonly number[] }) =>
  Array.from({ length: t.shape[0] }, (_, row) =>
    [...t.data.slice(row * t.shape[1], (row + 1) * t.shape[1])].map(Number),
  );

describe("padding", () => {
  test("to the right, as training wants it", () => {
    const batch = padTokens([[5, 6, 7], [8]], { padId: 0 });
    expect(rows(batch.input_ids)).toEqual([
      [5, 6, 7],
      [8, 0, 0],
    ]);
    expect(rows(batch.attention_mask)).toEqual([
      [1, 1, 1],
      [1, 0, 0],
    ]);
    expect(rows(batch.position_ids)).toEqual([
      [0, 1, 2],
      [0, 0, 0],
    ]);
    expect(rows(batch.labels)).toEqual([
      [5, 6, 7],
      [8, -100, -100],
    ]);
  });
  test("to the left, as generating wants it, to a multiple", () => {
    const batch = padTokens([[5, 6, 7], [8]], { padId: 9, side: "left", multipleOf: 4 });
    expect(rows(batch.input_ids)).toEqual([
      [9, 5, 6, 7],
      [9, 9, 9, 8],
    ]);
    expect(rows(batch.position_ids)).toEqual([
      [0, 0, 1, 2],
      [0, 0, 0, 0],
    ]);
  });
  test("prompts do not count in the loss, also after cutting", () => {
    expect(rows(padTokens([[1, 2, 3, 4]], { padId: 0, promptLengths: [2] }).labels)).toEqual([[-100, -100, 3, 4]]);
    const cut = padTokens([[1, 2, 3, 4]], { padId: 0, promptLengths: [2], truncate: 3, side: "left" });
    expect(rows(cut.input_ids)).toEqual([[2, 3, 4]]);
    expect(rows(cut.labels)).toEqual([[-100, 3, 4]]);
  });
  test("texts that are too long for a fixed length are refused by number", () => {
    expect(() => padTokens([[1], [1, 2, 3]], { padId: 0, length: 2 })).toThrow(/text 1 has 3 tokens/);
    expect(() => padTokens([[1]], { padId: 0, multipleOf: 0 })).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION" }),
    );
    expect(padTokens([], { padId: 0 }).input_ids.shape).toEqual([0, 0]);
  });
});

describe("packing", () => {
  test("whole texts share rows, positions start anew, first tokens do not count", () => {
    const packed = packTokens([[1, 2, 3], [4, 5], [6]], { length: 4, padId: 0 });
    expect(rows(packed.input_ids)).toEqual([
      [1, 2, 3, 6],
      [4, 5, 0, 0],
    ]);
    expect(rows(packed.segment_ids)).toEqual([
      [1, 1, 1, 2],
      [1, 1, 0, 0],
    ]);
    expect(rows(packed.position_ids)).toEqual([
      [0, 1, 2, 0],
      [0, 1, 0, 0],
    ]);
    expect(rows(packed.labels)).toEqual([
      [-100, 2, 3, -100],
      [-100, 5, -100, -100],
    ]);
  });
  test("a stream is cut at every length, with end tokens between texts", () => {
    const packed = packTokens([[1, 2, 3], [4]], { length: 3, padId: 0, mode: "stream", endId: 9 });
    expect(rows(packed.input_ids)).toEqual([
      [1, 2, 3],
      [9, 4, 9],
    ]);
    expect(rows(packed.segment_ids)).toEqual([
      [1, 1, 1],
      [1, 2, 2],
    ]);
  });
  test("no token is lost or made up, and rows are nearly as few as can be", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.integer({ min: 1, max: 99 }), { maxLength: 20 }), { maxLength: 30 }),
        (texts) => {
          for (const mode of ["whole", "stream"] as const) {
            const packed = packTokens(texts, { length: 8, padId: 0, mode });
            const kept = [...packed.input_ids.data].filter((_, i) => packed.attention_mask.data[i] === 1n).map(Number);
            expect([...kept].sort((a, b) => a - b)).toEqual(texts.flat().sort((a, b) => a - b));
            const fewest = Math.ceil(texts.flat().length / 8);
            expect(packed.input_ids.shape[0]).toBeGreaterThanOrEqual(fewest);
            if (mode === "stream") expect(packed.input_ids.shape[0]).toBe(fewest);
            else expect(packed.input_ids.shape[0]).toBeLessThanOrEqual(2 * fewest + 1);
          }
        },
      ),
      { seed: 1 },
    );
  });
  test("a length that holds no pair of tokens is refused", () => {
    expect(() => packTokens([[1]], { length: 1, padId: 0 })).toThrow(
      expect.objectContaining({ code: "INVALID_OPTION" }),
    );
  });
});
