import { LoomweightError, unknownName } from "@loomweight/tensor";
import { isLocatedList, type Located } from "./located.ts";
import type { ModelReference } from "./model-reference.ts";
import { locatePlain } from "./plain.ts";
import { type Recipe, type RecipeContext, readRecipe } from "./recipe.ts";
import { locateYamlDocuments, maxDocuments } from "./yaml.ts";

/** The documents of a recipe, of which some use the results of others as models. */
export interface RecipeDocuments {
  /** Those that the target needs, each after the documents it uses; the target is the last. */
  readonly documents: readonly Recipe[];
  readonly target: Recipe;
  /** About documents that the target does not need. */
  readonly warnings: readonly string[];
}

/**
 * Reads a recipe of one or several documents (`---`, or a list of objects) in any order. A model whose path is the
 * `name` of a document is its result, with an adapter folded into it where one is named. The target is the document named `target`, else the unnamed one, else the only
 * one that no other uses. Throws as `parseRecipe`, and `DUPLICATE_NAME`, `CYCLE`, `UNKNOWN_DOCUMENT`,
 * `AMBIGUOUS_DOCUMENT` (two unnamed, or several that could be the target).
 */
export function parseRecipeDocuments(
  recipe: string | object,
  context: RecipeContext & { readonly target?: string },
): RecipeDocuments {
  const recipes = locate(recipe, context.file).map((root) => readRecipe(root, context));
  const named = namesOf(recipes);
  const ordered = inOrder(recipes, named);
  const target = chooseTarget(recipes, named, context.target);
  const needed = new Set<Recipe>();
  const collect = (each: Recipe): void => {
    if (needed.has(each)) return;
    needed.add(each);
    for (const used of usedBy(each, named)) collect(used);
  };
  collect(target);
  const unused = recipes.filter((each) => !needed.has(each));
  return {
    documents: ordered.filter((each) => needed.has(each)),
    target,
    warnings: unused.map(
      ({ name }) => `the document ${name === undefined ? "without a name" : `"${name}"`} is not needed for this output`,
    ),
  };
}

/** The references of a recipe's models, each once, in the order of its text; the base comes last when not listed. */
export function modelsOf(recipe: Recipe): ModelReference[] {
  const references = recipe.slices.flatMap(({ sources, base }) => [
    ...sources.map(({ model }) => model),
    ...(base === undefined ? [] : [base]),
  ]);
  if (recipe.base !== undefined) references.push(recipe.base);
  return [...new Map(references.map((reference) => [reference.key, reference])).values()];
}

function locate(recipe: string | object, file: string | undefined): readonly Located[] {
  if (typeof recipe === "string") return locateYamlDocuments(recipe, file);
  const root = locatePlain(recipe, file);
  if (!isLocatedList(root.value)) return [root];
  if (root.value.length > 0 && root.value.length <= maxDocuments) return root.value;
  throw new LoomweightError({
    code: "INVALID_RECIPE",
    problem: "a recipe has the wrong number of documents",
    expected: `1 to ${maxDocuments}`,
    found: String(root.value.length),
    file,
  });
}

function namesOf(recipes: readonly Recipe[]): ReadonlyMap<string, Recipe> {
  const named = new Map<string, Recipe>();
  let unnamed: Recipe | undefined;
  for (const recipe of recipes) {
    const { name } = recipe;
    if (name === undefined) {
      if (unnamed !== undefined) {
        throw new LoomweightError({
          code: "AMBIGUOUS_DOCUMENT",
          problem: "two documents have no name",
          expected: "at most one, whose result is the output",
          found: `the first begins in line ${unnamed.place.line ?? "?"}`,
          fix: "Give one of them a `name`.",
          ...recipe.place,
        });
      }
      unnamed = recipe;
      continue;
    }
    if (named.has(name)) {
      throw new LoomweightError({
        code: "DUPLICATE_NAME",
        problem: `two documents are called "${name}"`,
        ...recipe.place,
      });
    }
    named.set(name, recipe);
  }
  return named;
}

/** The documents whose results `recipe` uses, each once. */
function usedBy(recipe: Recipe, named: ReadonlyMap<string, Recipe>): Recipe[] {
  const used = new Set<Recipe>();
  for (const { path } of [...modelsOf(recipe), ...(recipe.tokenizer?.references ?? [])]) {
    const document = named.get(path);
    if (document !== undefined) used.add(document);
  }
  return [...used];
}

/** Every document after those it uses. */
function inOrder(recipes: readonly Recipe[], named: ReadonlyMap<string, Recipe>): Recipe[] {
  const ordered = new Set<Recipe>();
  const path = new Set<Recipe>();
  const visit = (recipe: Recipe): void => {
    if (ordered.has(recipe)) return;
    if (path.has(recipe)) {
      const names = [...path].slice([...path].indexOf(recipe)).map(({ name }) => `"${name}"`);
      throw new LoomweightError({
        code: "CYCLE",
        problem: `documents use each other in a circle: ${[...names, names[0]].join(" needs ")}`,
        ...recipe.place,
      });
    }
    path.add(recipe);
    for (const used of usedBy(recipe, named)) visit(used);
    path.delete(recipe);
    ordered.add(recipe);
  };
  recipes.forEach(visit);
  return [...ordered];
}

function chooseTarget(recipes: readonly Recipe[], named: ReadonlyMap<string, Recipe>, target?: string): Recipe {
  if (target !== undefined) {
    const found = named.get(target);
    if (found !== undefined) return found;
    throw unknownName({
      kind: "document of the recipe",
      name: target,
      known: named.keys(),
      code: "UNKNOWN_DOCUMENT",
      file: recipes[0].file,
    });
  }
  const unnamed = recipes.find(({ name }) => name === undefined);
  if (unnamed !== undefined) return unnamed;
  const used = new Set(recipes.flatMap((each) => usedBy(each, named)));
  const ends = recipes.filter((each) => !used.has(each));
  if (ends.length === 1) return ends[0];
  throw new LoomweightError({
    code: "AMBIGUOUS_DOCUMENT",
    problem: "all documents have names, and more than one could be the output",
    expected: "a target",
    found: ends.map(({ name }) => name).join(", "),
    fix: "Name the document that you want, or take the `name` of one away.",
    file: recipes[0].file,
  });
}
