import { LoomweightError } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { mergeMethods } from "../method-list.ts";
import { parseRecipeDocuments } from "./documents.ts";

/** The error that a recipe gives, and how long it took. */
function refusal(recipe: string | object): { error: LoomweightError; milliseconds: number } {
  const began = performance.now();
  try {
    parseRecipeDocuments(recipe, { methods: mergeMethods, file: "recipe.yml" });
  } catch (error) {
    if (!(error instanceof LoomweightError)) throw error;
    return { error, milliseconds: performance.now() - began };
  }
  throw new Error("the recipe was accepted");
}

/** a: nine texts; b: nine times a; … 9ⁿ values in n + 1 lines. */
const bomb = (levels: number) =>
  [
    `a0: &a0 [${Array(9).fill("x").join(", ")}]`,
    ...Array.from({ length: levels }, (_, i) => `a${i + 1}: &a${i + 1} [${Array(9).fill(`*a${i}`).join(", ")}]`),
  ].join("\n");

const head = "merge_method: passthrough\nmodels: [{model: a}]\n";

test.each<[string, string, string, RegExp]>([
  ["a bomb of anchors", bomb(20), "RECIPE_TOO_LARGE", /100000 values/],
  ["a bomb of anchors in every document", Array(60).fill(bomb(4)).join("\n---\n"), "RECIPE_TOO_LARGE", /100000 values/],
  ["a bomb of merge keys", `x: &x {a: 1}\n${"<<: [*x, *x]\n".repeat(10_000)}`, "UNKNOWN_KEY", /"x"/],
  ["an anchor inside itself", `${head}parameters: &p\n  scale: *p\n`, "RECIPE_TOO_LARGE", /nested/],
  ["an anchor that is not defined", `${head}dtype: *p\n`, "INVALID_YAML", /p/],
  ["forty thousand aliases", `a: &a 1\nb: [${"*a, ".repeat(40_000)}*a]\n`, "UNKNOWN_KEY", /"a"/],
  [
    "a key given twice",
    `${head}dtype: float32\ndtype: float16\n`,
    "INVALID_YAML",
    /recipe\.yml:4:1.*first given in line 3/s,
  ],
  [
    "a model's key given twice",
    "merge_method: passthrough\nmodels: [{model: a, model: b}]\n",
    "INVALID_YAML",
    /duplicate key "model"/,
  ],
  [
    "a JavaScript function",
    `${head}dtype: !!js/function "function () { return 1 }"\n`,
    "INVALID_YAML",
    /recipe\.yml:3/,
  ],
  ["a Python object", `${head}dtype: !!python/object/apply:os.system ["true"]\n`, "INVALID_YAML", /recipe\.yml:3/],
  ["binary data", `${head}dtype: !!binary aGVsbG8=\n`, "INVALID_YAML", /recipe\.yml:3/],
  ["tabs for indentation", "merge_method: passthrough\nmodels:\n\t- model: a\n", "INVALID_YAML", /[Tt]ab/],
  ["ten megabytes", `${head}# ${"x".repeat(10_000_000)}\n`, "RECIPE_TOO_LARGE", /at most 250000 characters/],
  ["a quarter of a megabyte of brackets", `a: ${"[".repeat(240_000)}`, "RECIPE_TOO_LARGE", /nested/],
  [
    "deep indentation",
    Array.from({ length: 300 }, (_, i) => `${" ".repeat(i)}a:`).join("\n"),
    "RECIPE_TOO_LARGE",
    /nested/,
  ],
  ["sixty thousand documents", "---\n".repeat(60_000), "RECIPE_TOO_LARGE", /documents/],
  ["twenty thousand keys", Array.from({ length: 20_000 }, (_, i) => `k${i}: 1`).join("\n"), "UNKNOWN_KEY", /k0/],
  ["a key of odd text", `${head}"\\u001b[2J": 1\n`, "UNKNOWN_KEY", /\\u001b/],
  ["__proto__", `${head}__proto__: {dtype: float16}\n`, "UNKNOWN_KEY", /__proto__/],
  ["constructor as a method", "merge_method: constructor\nmodels: [{model: a}]\n", "UNKNOWN_METHOD", /constructor/],
  ["a name outside the folder", `name: ../x\n${head}`, "UNSAFE_NAME", /recipe\.yml:1:7/],
  [
    "infinity as a weight",
    "merge_method: linear\nmodels: [{model: a, parameters: {weight: .inf}}]\n",
    "INVALID_OPTION",
    /finite/,
  ],
  [
    "ten thousand modules without anything",
    `merge_method: linear\nmodules:\n${Array.from({ length: 10_000 }, (_, i) => `  m${i}: {}`).join("\n")}\n`,
    "INVALID_RECIPE",
    /recipe\.yml:3.*neither models nor slices/s,
  ],
  [
    "the default module beside another of odd text",
    `merge_method: passthrough\nmodules: {default: {models: [{model: a}]}, "\\u001b[2J": {models: [{model: a}]}}\n`,
    "INVALID_RECIPE",
    /default.*\\u001b/s,
  ],
  ["modules in a list", "merge_method: linear\nmodules: [{models: [{model: a}]}]\n", "INVALID_RECIPE", /mapping/],
  ["nothing", "", "INVALID_YAML", /empty/],
  ["nothing but documents", "---\n---\n", "INVALID_YAML", /empty/],
  ["text", "hello", "INVALID_RECIPE", /mapping/],
  ["zero bytes", "\0\0\0", "INVALID_RECIPE", /mapping/],
])(
  "%s is refused by name in bounded time",
  (_, recipe, code, message) => {
    const { error, milliseconds } = refusal(recipe);
    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    // An unloaded core takes a tenth of it; what is not bounded takes hours.
    expect(milliseconds).toBeLessThan(20_000);
  },
  30_000,
);

test.each([
  "{ search: [0, 1] }",
  "[0.5, { search: [0, 1] }]",
  "[{ filter: mlp, value: { search: [0, 1] } }, { value: 1 }]",
  "[{ filter: mlp, value: [0, { search: [0, 1] }] }, { value: 1 }]",
])("a range is named as one outside of a search: %s", (weight) => {
  const recipe = `merge_method: linear\nmodels:\n  - model: a\n    parameters: { weight: ${weight} }\n`;
  expect(refusal(recipe).error.message).toMatch(/option weight: \{ search.*loomweight search/s);
});

test("an object that contains itself is refused", () => {
  const loop: Record<string, unknown> = { merge_method: "linear" };
  loop.models = [loop];
  expect(refusal(loop).error.code).toBe("RECIPE_TOO_LARGE");
  expect(refusal([]).error.code).toBe("INVALID_RECIPE");
  expect(refusal({ merge_method: () => 1 }).error.code).toBe("INVALID_RECIPE");
});
