import { LoomweightError } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { mergeMethods } from "../method-list.ts";
import { parseRecipeDocuments } from "../recipe/documents.ts";
import { recipeYaml } from "../recipe/write-yaml.ts";
import { type ScoredCandidate, type SearchCandidate, searchRecipe } from "./search-recipe.ts";
import { readSearchSpace } from "./search-space.ts";
import type { RecipeSearchState } from "./search-state.ts";

const recipe = `
merge_method: ties
base_model: base
models:
  - model: a
    parameters:
      weight: { search: [0, 1], start: 0.25 }
      density: [{ search: [0.1, 1] }, 0.5, { search: [0.1, 1], start: 0.9 }]
  - model: b
    parameters:
      weight: [{ filter: mlp, value: { search: [-1, 1] } }, { value: 0.5 }]
parameters: { lambda: { search: [0, 2], name: strength } }
`;
const names = [
  "models[0].parameters.weight",
  "models[0].parameters.density[0]",
  "models[0].parameters.density[2]",
  "models[1].parameters.weight[0].value",
  "strength",
];
const { scalars: ranges } = readSearchSpace(recipe);
const target = [0.7, 0.3, 0.95, -0.4, 1.9];

/** Distance to `target` in units of each range, so lowest there. */
function distance({ values }: Pick<SearchCandidate, "values">): number {
  return ranges.reduce((sum, { name, low, high }, i) => sum + ((values[name] - target[i]) / (high - low)) ** 2, 0);
}

test("ranges are found as values, points of gradients, values of conditions and options of the whole recipe", () => {
  const { scalars, recipeAt } = readSearchSpace(recipe);
  expect(scalars.map(({ name }) => name)).toEqual(names);
  expect(scalars.map(({ start }) => start)).toEqual([0.25, 0.55, 0.9, 0, 1]);
  expect(recipeAt(target)).toEqual({
    merge_method: "ties",
    base_model: "base",
    models: [
      { model: "a", parameters: { weight: 0.7, density: [0.3, 0.5, 0.95] } },
      { model: "b", parameters: { weight: [{ filter: "mlp", value: -0.4 }, { value: 0.5 }] } },
    ],
    parameters: { lambda: 1.9 },
  });
});

test("a name lets several places, and documents, share one number; the YAML of the result means the same", () => {
  const shared = `
name: half
merge_method: linear
models:
  - { model: a, parameters: { weight: { search: [0, 1], name: w } } }
  - { model: b, parameters: { weight: 0.5 } }
---
merge_method: linear
models:
  - { model: half, parameters: { weight: { search: [0, 1], name: w } } }
  - { model: c, parameters: { weight: { search: [0, 3] } } }
`;
  const space = readSearchSpace(shared);
  expect(space.scalars.map(({ name }) => name)).toEqual(["w", "[1].models[1].parameters.weight"]);
  const found = space.recipeAt([0.25, 2]);
  const read = parseRecipeDocuments(recipeYaml(found), { methods: mergeMethods });
  const weights = read.documents.flatMap(({ slices }) =>
    slices[0].sources.map(({ parameters }) => parameters.input.get("weight")?.setting),
  );
  expect(weights.map((setting) => (setting?.kind === "value" ? setting.value.value : undefined))).toEqual([
    0.25, 0.5, 0.25, 2,
  ]);
});

test("the search comes close to the best numbers and never leaves the ranges", async () => {
  const seen: ScoredCandidate[] = [];
  const onCandidate = (candidate: ScoredCandidate) => seen.push(candidate);
  const found = await searchRecipe(recipe, distance, { generations: 60, seed: 3, onCandidate });
  expect(found.score).toBeLessThan(1e-6);
  expect(found.score).toBe(Math.min(...seen.map(({ score }) => score)));
  expect(found.startScore).toBe(seen[0].score);
  expect(seen.length).toBe(1 + 60 * found.state.search.population);
  const outside = seen.filter(({ values }) =>
    found.state.scalars.some(({ name, low, high }) => !(values[name] >= low && values[name] <= high)),
  );
  expect(outside).toEqual([]);
});

test("continued from its JSON after any candidate, it goes on as if it had not stopped", async () => {
  const states: RecipeSearchState[] = [];
  const whole = await searchRecipe(recipe, distance, { generations: 4, onState: (state) => void states.push(state) });
  for (const at of [0, 3, states.findIndex(({ search }) => search.generation === 2), states.length - 1]) {
    const state = JSON.parse(JSON.stringify(states[at]));
    let scored = 0;
    const count = (candidate: SearchCandidate) => {
      scored++;
      return distance(candidate);
    };
    const rest = await searchRecipe(recipe, count, { generations: 4, state });
    expect(rest).toEqual(whole);
    expect(scored).toBe(states.length - 1 - at);
  }
});

test("an abort stops before the next candidate; what was found is in the last state", async () => {
  const controller = new AbortController();
  let last: RecipeSearchState | undefined;
  const searching = searchRecipe(recipe, distance, {
    signal: controller.signal,
    onState: (state) => {
      last = state;
      if (state.scores.length === 2) controller.abort(new Error("enough"));
    },
  });
  await expect(searching).rejects.toThrow("enough");
  expect(last?.scores.length).toBe(2);
  expect(last?.best).toBeDefined();
});

test("scores that are no finite numbers lose; with none that is finite the search fails", async () => {
  const half = ({ values }: SearchCandidate) => (values.strength > 1 ? Number.NaN : -values.strength);
  const found = await searchRecipe(recipe, half, { generations: 10 });
  expect(found.values.strength).toBeLessThanOrEqual(1);
  expect(found.values.strength).toBeGreaterThan(0.99);
  await expect(searchRecipe(recipe, () => Number.NaN, { generations: 1 })).rejects.toMatchObject({
    code: "NO_FINITE_SCORE",
  });
});

test.each([
  ["nothing to search for", "weight: 1", "NOTHING_TO_SEARCH"],
  ["ends in the wrong order", "weight: { search: [1, 0] }", "INVALID_OPTION"],
  ["one end", "weight: { search: [1] }", "INVALID_OPTION"],
  ["an infinite end", "weight: { search: [0, .inf] }", "INVALID_OPTION"],
  ["text for an end", "weight: { search: [a, 1] }", "INVALID_OPTION"],
  ["a start outside", "weight: { search: [0, 1], start: 2 }", "INVALID_OPTION"],
  ["an unknown key", "weight: { search: [0, 1], begin: 0 }", "INVALID_OPTION"],
  ["a name that is no text", "weight: { search: [0, 1], name: [] }", "INVALID_OPTION"],
  ["two ranges of one name", "w: { search: [0, 1], name: n }\nv: { search: [0, 2], name: n }", "INVALID_OPTION"],
  [
    "more numbers than can be searched",
    `weight: [${Array.from({ length: 201 }, () => "{ search: [0, 1] }").join(", ")}]`,
    "RECIPE_TOO_LARGE",
  ],
])("%s: refused", (_, text, code) => {
  let thrown: unknown;
  try {
    readSearchSpace(text, "search.yml");
  } catch (error) {
    thrown = error;
  }
  expect(thrown).toBeInstanceOf(LoomweightError);
  expect(thrown).toMatchObject({ code });
  expect((thrown as Error).message).toContain("search.yml");
});

test("states that are damaged or belong to another recipe are refused", async () => {
  const { state } = await searchRecipe(recipe, distance, { generations: 1 });
  const go = (changed: unknown, text = recipe) => searchRecipe(text, distance, { generations: 2, state: changed });
  const { search } = state;
  const damaged: readonly unknown[] = [
    null,
    [],
    "{}",
    {},
    { ...state, kind: "other" },
    { ...state, version: 2 },
    { ...state, search: undefined },
    { ...state, search: { ...search, sigma: -1 } },
    { ...state, search: { ...search, population: 1e9 } },
    { ...state, search: { ...search, mean: [0, 0, 0, 0, "0"] } },
    { ...state, search: { ...search, factor: search.factor.map(() => 0) } },
    { ...state, scores: Array.from({ length: 100 }, () => 1) },
    { ...state, scores: ["1"] },
    { ...state, best: { values: [9, 9, 9, 9, 9], score: 0, generation: 1 } },
  ];
  for (const each of damaged) await expect(go(each)).rejects.toMatchObject({ code: "INVALID_STATE" });
  const other = recipe.replace("[-1, 1]", "[-1, 2]");
  await expect(go(state, other)).rejects.toMatchObject({ code: "STATE_MISMATCH" });
  await expect(searchRecipe(recipe, distance, { generations: 0 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  await expect(searchRecipe(recipe, distance, { seed: 0.5 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  await expect(searchRecipe(recipe, distance, { population: 1e9 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
  await expect(searchRecipe(recipe, distance, { spread: 0 })).rejects.toMatchObject({ code: "INVALID_OPTION" });
});
