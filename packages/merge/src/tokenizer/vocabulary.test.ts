import { LoomweightError } from "@loomweight/tensor/errors";
import { describe, expect, test } from "vitest";
import { readTokenizerFile } from "./tokenizer-file.ts";
import { meanRow, planVocabulary, type VocabularyInput, zeroRow } from "./vocabulary.ts";

/** A BPE tokenizer whose tokens have the ids of their places. */
function bpe(tokens: readonly string[], added: readonly string[] = [], merges: readonly [string, string][] = []) {
  return readTokenizerFile(
    {
      added_tokens: added.map((content, index) => ({ id: tokens.length + index, content, special: true })),
      model: { type: "BPE", vocab: Object.fromEntries(tokens.map((token, id) => [token, id])), merges },
    },
    "tokenizer.json",
  );
}

const base: VocabularyInput = { model: "base", tokenizer: bpe(["a", "b", "c"]), rows: 5 };
const other: VocabularyInput = { model: "other", tokenizer: bpe(["b", "d", "a"], ["<s>"]), rows: 4 };
const third: VocabularyInput = { model: "third", tokenizer: bpe(["d", "e"]), rows: 2 };
const inputs = [base, other, third];

function rowsOf(plan: ReturnType<typeof planVocabulary>, input: number): (number | string)[][] {
  const { model, row } = plan.inputs[input];
  return [...model].map((from, token) => (from < 0 ? [from === zeroRow ? "zero" : "mean"] : [from, row[token]]));
}

describe("the output vocabulary", () => {
  test("a model that takes part with an adapter may be named without it, as long as it is one", () => {
    const adapted = [base, { ...other, model: "other+lora" }];
    expect(planVocabulary(adapted, 0, { source: "other" }).donor).toBe(1);
    const twice = [...adapted, { ...other, model: "other+names" }];
    expect(() => planVocabulary(twice, 0, { source: "other" })).toThrow(/unknown model for the tokenizer "other"/);
  });

  test("base keeps base's tokens, and every input's rows follow the token, not the place", () => {
    const plan = planVocabulary(inputs, 0, { source: "base" });
    expect(plan.tokens).toBe(3);
    expect(rowsOf(plan, 0)).toEqual([
      [0, 0],
      [0, 1],
      [0, 2],
    ]);
    // other has b at 0 and a at 2; c is base's alone.
    expect(rowsOf(plan, 1)).toEqual([
      [1, 2],
      [1, 0],
      [0, 2],
    ]);
  });

  test("spare rows are left out with a warning, never silently", () => {
    const plan = planVocabulary(inputs, 0, { source: "base" });
    expect(plan.rows).toBe(3);
    expect(plan.warnings.join()).toMatch(/2 of the 5 embedding rows of base are spare/);
  });

  test("union appends unseen tokens in the order listed, added tokens last", () => {
    const plan = planVocabulary(inputs, 0, { source: "union" });
    const added = plan.tokenizer.added_tokens as { content: string; id: number; special: boolean }[];
    expect(added.map(({ content, id, special }) => [content, id, special])).toEqual([
      ["d", 3, false],
      ["e", 4, false],
      ["<s>", 5, true],
    ]);
    // d is owned by other and third and not by base: everybody who lacks it gets the mean of the owners.
    expect(plan.inputs[0].model[3]).toBe(meanRow);
    expect(plan.inputs[0].means[plan.inputs[0].row[3]]).toEqual([
      { model: 1, row: 1 },
      { model: 2, row: 0 },
    ]);
    expect(rowsOf(plan, 2)[3]).toEqual([2, 0]);
    expect(rowsOf(plan, 2)[4]).toEqual([2, 1]);
  });

  test("a token of several owners that base has too is lent by base", () => {
    const plan = planVocabulary(inputs, 0, { source: "base" });
    expect(rowsOf(plan, 2)[0]).toEqual([0, 0]);
  });

  test("a configured source serves those who lack the token, with force everybody", () => {
    const tokens = new Map([
      ["<new>", { source: { kind: "model_token", model: "other", token: "d" } as const }],
      ["a", { source: { kind: "model", model: "other" } as const, force: true }],
      ["<blank>", { source: { kind: "zero" } as const }],
    ]);
    const plan = planVocabulary(inputs, 0, { source: "base", tokens, padToMultipleOf: 4 });
    expect([plan.tokens, plan.rows]).toEqual([5, 8]);
    expect(rowsOf(plan, 0)[3]).toEqual([1, 1]);
    expect(rowsOf(plan, 0)[0]).toEqual([1, 2]);
    expect(rowsOf(plan, 0)[4]).toEqual(["zero"]);
    expect(plan.warnings).toEqual([]);
  });

  test("a token that nobody owns starts at zero and says so", () => {
    const plan = planVocabulary(inputs, 0, { source: "base", tokens: new Map([["<new>", {}]]) });
    expect(rowsOf(plan, 1)[3]).toEqual(["zero"]);
    expect(plan.warnings.join()).toMatch(/"<new>".*start at zero/);
  });

  test("an input without a tokenizer counts as having base's", () => {
    const plan = planVocabulary([base, { model: "bare", tokenizer: undefined, rows: 5 }], 0, { source: "base" });
    expect(rowsOf(plan, 1)).toEqual([
      [1, 0],
      [1, 1],
      [1, 2],
    ]);
  });

  test("tokens beyond the donor's rows are cut from a BPE vocabulary", () => {
    const plan = planVocabulary([{ ...base, rows: 2 }], 0, { source: "base" });
    expect(plan.tokens).toBe(2);
    expect((plan.tokenizer.model as { vocab: object }).vocab).toEqual({ a: 0, b: 1 });
  });

  test.each([
    [
      "a merge that makes a token beyond the rows",
      () =>
        planVocabulary([{ model: "m", rows: 2, tokenizer: bpe(["a", "b", "ab"], [], [["a", "b"]]) }], 0, {
          source: "base",
        }),
      "INVALID_TOKENIZER",
    ],
    [
      "a token of another input beyond its rows",
      () => planVocabulary([base, { ...other, rows: 2 }], 0, { source: "union" }),
      "INVALID_TOKENIZER",
    ],
    ["a source that takes no part", () => planVocabulary(inputs, 0, { source: "othr" }), "UNKNOWN_MODEL"],
    [
      "a source token that does not exist",
      () =>
        planVocabulary(inputs, 0, {
          source: "base",
          tokens: new Map([["x", { source: { kind: "model_token", model: "third", tokenId: 7 } }]]),
        }),
      "UNKNOWN_TOKEN",
    ],
    [
      "no tokenizer at all",
      () => planVocabulary([{ model: "m", rows: 2, tokenizer: undefined }], 0, { source: "base" }),
      "MISSING_FILE",
    ],
  ])("%s is refused", (_, plan, code) => {
    expect(plan).toThrow(LoomweightError);
    try {
      plan();
    } catch (error) {
      expect((error as LoomweightError).code).toBe(code);
    }
  });
});

describe("tokenizer.json", () => {
  test.each([
    ["no model", {}],
    ["a negative id", { model: { vocab: { a: -1 } } }],
    ["an id that is text", { model: { vocab: { a: "1" } } }],
    ["a token with two ids", { model: { vocab: { a: 1 } }, added_tokens: [{ id: 2, content: "a" }] }],
    ["an absurd id", { model: { vocab: { a: 1e12 } } }],
    ["added tokens that are no list", { model: { vocab: {} }, added_tokens: 3 }],
  ])("with %s is refused by name", (_, json) => {
    expect(() => readTokenizerFile(json, "m/tokenizer.json")).toThrow(/m\/tokenizer\.json/);
  });

  test("a Unigram vocabulary is a list of pairs", () => {
    const file = readTokenizerFile(
      {
        model: {
          type: "Unigram",
          vocab: [
            ["<unk>", 0],
            ["▁a", -1.5],
          ],
        },
      },
      "t",
    );
    expect([...file.vocabulary]).toEqual([
      ["<unk>", 0],
      ["▁a", 1],
    ]);
  });
});
