import { expect, test } from "vitest";
import { drawToken, likeliestToken } from "./choose-token.ts";

test("greedy takes the first of equals and never a NaN", () => {
  expect(likeliestToken([1, 3, 3, Number.NaN])).toBe(1);
});

test("drawing follows the softmax: frequencies over evenly spread numbers are the probabilities", () => {
  const logits = [Math.log(0.5), Math.log(0.3), Math.log(0.2)];
  const counts = [0, 0, 0];
  for (let i = 0; i < 1000; i++) counts[drawToken(logits, { temperature: 1 }, (i + 0.5) / 1000)]++;
  expect(counts).toEqual([500, 300, 200]);
});

test("temperature sharpens: at 0.5 the probabilities are squared", () => {
  const logits = [Math.log(0.6), Math.log(0.4)];
  let first = 0;
  for (let i = 0; i < 1000; i++) first += drawToken(logits, { temperature: 0.5 }, (i + 0.5) / 1000) === 0 ? 1 : 0;
  expect(first).toBe(Math.round((1000 * 0.36) / 0.52));
});

test("top-k and top-p cut the tail", () => {
  const logits = [0, 1, 2, 3].map((p) => Math.log([0.1, 0.2, 0.3, 0.4][p]));
  const drawn = (sampling: { topK?: number; topP?: number }) =>
    new Set(Array.from({ length: 200 }, (_, i) => drawToken(logits, { temperature: 1, ...sampling }, (i + 0.5) / 200)));
  expect(drawn({ topK: 2 })).toEqual(new Set([3, 2]));
  expect(drawn({ topP: 0.4 })).toEqual(new Set([3]));
  expect(drawn({ topP: 0.5 })).toEqual(new Set([3, 2]));
  expect(drawn({ topP: 1 })).toEqual(new Set([3, 2, 1, 0]));
});
