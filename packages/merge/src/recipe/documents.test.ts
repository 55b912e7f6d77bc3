import { LoomweightError } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { mergeMethods } from "../method-list.ts";
import { parseRecipeDocuments } from "./documents.ts";

const parse = (text: string, target?: string) =>
  parseRecipeDocuments(text, { methods: mergeMethods, file: "recipe.yml", target });

/** The error that reading `text` gives. */
function refusal(text: string, target?: string): LoomweightError {
  try {
    parse(text, target);
  } catch (error) {
    expect(error).toBeInstanceOf(LoomweightError);
    return error as LoomweightError;
  }
  throw new Error("the recipe was accepted");
}

const pass = (model: string, name?: string) =>
  `${name === undefined ? "" : `name: ${name}\n`}merge_method: passthrough\nmodels: [{model: ${model}}]\n`;

describe("several documents", () => {
  test("come in an order in which each follows those it uses, the target last", () => {
    const { documents, target, warnings } = parse([pass("b"), pass("a", "b"), pass("file", "a")].join("---\n"));
    expect(documents.map(({ name }) => name)).toEqual(["a", "b", undefined]);
    expect(target).toBe(documents[2]);
    expect(warnings).toEqual([]);
  });

  test("that the target does not need are left out with a warning", () => {
    const text = [pass("a"), pass("file", "a"), pass("a", "other")].join("---\n");
    expect(parse(text).warnings.join()).toMatch(/"other" is not needed/);
    const named = parse(text, "a");
    expect(named.documents.map(({ name }) => name)).toEqual(["a"]);
    expect(named.warnings).toHaveLength(2);
  });

  test("with names throughout have the one as target that no other uses", () => {
    expect(parse([pass("one", "two"), pass("file", "one")].join("---\n")).target.name).toBe("two");
    expect(refusal([pass("x", "two"), pass("x", "one")].join("---\n")).code).toBe("AMBIGUOUS_DOCUMENT");
  });

  test("may be given as a list of objects, empty ones between --- are ignored", () => {
    const list = [
      { merge_method: "passthrough", models: [{ model: "a" }] },
      { name: "a", merge_method: "passthrough", models: [{ model: "file" }] },
    ];
    expect(parseRecipeDocuments(list, { methods: mergeMethods }).documents).toHaveLength(2);
    expect(parse(`---\n---\n# nothing\n---\n${pass("file")}---\n`).documents).toHaveLength(1);
  });

  test("are found through bases, slices and tokenizer settings too", () => {
    const text = `merge_method: slerp
base_model: a
slices:
  - sources:
      - {model: a, layer_range: [0, 1]}
      - {model: b, layer_range: [0, 1]}
parameters: {t: 0.5}
tokenizer_source: b
---
${pass("file", "a")}---
${pass("file", "b")}`;
    expect(parse(text).documents.map(({ name }) => name)).toEqual(["a", "b", undefined]);
  });

  test.each([
    ["a circle", [pass("y", "x"), pass("x", "y")], "CYCLE", /"x" needs "y" needs "x"/],
    ["a document of itself", [pass("x", "x")], "CYCLE", /"x" needs "x"/],
    ["a name given twice", [pass("f", "x"), pass("g", "x")], "DUPLICATE_NAME", /recipe\.yml:5:1/],
    ["two without a name", [pass("f"), pass("g")], "AMBIGUOUS_DOCUMENT", /recipe\.yml:4:1/],
    ["a circle through an adapter", [pass("y+lora", "x"), pass("x", "y")], "CYCLE", /"x" needs "y" needs "x"/],
    ["a name that leaves the folder", [pass("f", "../x")], "UNSAFE_NAME", /recipe\.yml:1:7.*"\.\.\/x"/s],
    ["an absolute name", [pass("f", "/tmp/x")], "UNSAFE_NAME", /plain name/],
    ["a name with a plus", [pass("f", "a+b")], "UNSAFE_NAME", /plain name/],
    ["more documents than a recipe has", Array.from({ length: 80 }, () => pass("f")), "RECIPE_TOO_LARGE", /documents/],
  ])("%s is refused", (_, documents, code, message) => {
    const error = refusal((documents as string[]).join("---\n"));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message as RegExp);
  });

  test("an unknown target names the closest", () => {
    const error = refusal(pass("f", "first"), "frist");
    expect(error.code).toBe("UNKNOWN_DOCUMENT");
    expect(error.message).toContain('"first"');
  });
});

describe("tokenizer settings", () => {
  const recipe = (lines: string) => `${pass("models/a")}${lines}\n`;

  test("are read in both spellings", () => {
    expect(parse(recipe("tokenizer_source: union")).target.tokenizer?.settings).toEqual({ source: "union" });
    const text = recipe(`tokenizer:
  source: models/a
  pad_to_multiple_of: 8
  tokens:
    "<x>": {source: models/a, force: true}
    "<y>": {source: {kind: model_token, model: models/a, token_id: 4}}
    "<z>": {source: {kind: zero}}
    "<w>":`);
    expect(parse(text).target.tokenizer?.settings).toEqual({
      source: "models/a",
      padToMultipleOf: 8,
      tokens: new Map<string, object>([
        ["<x>", { source: { kind: "model", model: "models/a" }, force: true }],
        ["<y>", { source: { kind: "model_token", model: "models/a", tokenId: 4 } }],
        ["<z>", { source: { kind: "zero" } }],
        ["<w>", {}],
      ]),
    });
  });

  test.each([
    ["both keys", "tokenizer_source: base\ntokenizer: {source: union}", /both given/],
    [
      "token and token_id",
      "tokenizer: {tokens: {x: {source: {kind: model_token, model: m, token: a, token_id: 1}}}}",
      /both token and token_id/,
    ],
    [
      "neither token nor token_id",
      "tokenizer: {tokens: {x: {source: {kind: model_token, model: m}}}}",
      /neither token nor/,
    ],
    [
      "a token_id below 0",
      "tokenizer: {tokens: {x: {source: {kind: model_token, model: m, token_id: -1}}}}",
      /token_id/,
    ],
    ["an unknown kind", "tokenizer: {tokens: {x: {source: {kind: mean}}}}", /model_token or zero/],
    ["a mistyped key", "tokenizer: {sorce: base}", /Did you mean "source"/],
    ["padding to 0", "tokenizer: {pad_to_multiple_of: 0}", /whole number from 1/],
    ["force that is no switch", "tokenizer: {tokens: {x: {force: 3}}}", /true or false/],
    ["tokens that are a list", "tokenizer: {tokens: [x]}", /a mapping/],
    ["an unknown chat template", "chat_template: chatlm", /chatml/],
  ])("with %s are refused with line and column", (_, lines, message) => {
    const error = refusal(recipe(lines));
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/recipe\.yml:[34]:\d+/);
  });
});
