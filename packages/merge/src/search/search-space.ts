import { LoomweightError } from "@loomweight/tensor";
import { isLocatedList, isLocatedMap, type Located, type Place } from "../recipe/located.ts";
import { locatePlain } from "../recipe/plain.ts";
import { locateYamlDocuments } from "../recipe/yaml.ts";

/** A number of a recipe that is searched for. */
export interface SearchedScalar {
  /** Its `name`, else where it stands: `models[0].parameters.weight`. */
  readonly name: string;
  readonly low: number;
  readonly high: number;
  /** Where the search begins. */
  readonly start: number;
}

/** The recipes that a recipe with ranges stands for. */
export interface SearchSpace {
  /** In the order of the recipe's text. */
  readonly scalars: readonly SearchedScalar[];
  /** The recipe with these numbers, one a scalar, in its order; a list where the recipe has several documents. */
  recipeAt(values: readonly number[]): object;
}

/** More are too many for a search that keeps a covariance of all of them. */
const maxScalars = 200;
const rangeKeys = ["search", "start", "name"];

/** A recipe's value with the searched numbers left open: their indices. */
type Template =
  | { readonly kind: "searched"; readonly index: number }
  | { readonly kind: "plain"; readonly value: unknown }
  | { readonly kind: "list"; readonly items: readonly Template[] }
  | { readonly kind: "map"; readonly entries: readonly (readonly [string, Template])[] };

/**
 * Reads which numbers of a recipe (YAML text, or an object of the same shape) are to be searched for. Wherever a number
 * may stand, as a value, a point of a gradient or the value of a condition, `{ search: [low, high] }` stands for one:
 *
 * ```yaml
 * weight: { search: [0, 1] }                             # begins in the middle
 * density: { search: [0.1, 1], start: 0.5 }
 * t: [{ search: [0, 1] }, 0.5, { search: [0, 1] }]       # two points of a gradient
 * lambda: { search: [0, 2], name: strength }             # the same number wherever this name stands
 * ```
 *
 * Throws `NOTHING_TO_SEARCH`, `INVALID_OPTION` (a range that is none), `RECIPE_TOO_LARGE`, `INVALID_YAML`.
 */
export function readSearchSpace(recipe: string | object, file?: string): SearchSpace {
  const documents = typeof recipe === "string" ? locateYamlDocuments(recipe, file) : [locatePlain(recipe, file)];
  const scalars: SearchedScalar[] = [];
  const named = new Map<string, number>();

  const visit = (located: Located, path: string): Template => {
    const { value } = located;
    if (isLocatedList(value)) {
      return { kind: "list", items: value.map((item, index) => visit(item, `${path}[${index}]`)) };
    }
    if (!isLocatedMap(value)) return { kind: "plain", value };
    if (value.has("search")) return { kind: "searched", index: indexOf(readRange(located, path)) };
    const entries = [...value].map(
      ([key, { item }]) => [key, visit(item, path === "" ? key : `${path}.${key}`)] as const,
    );
    return { kind: "map", entries };
  };
  const indexOf = ({ shared, place, ...scalar }: ReadRange): number => {
    const before = named.get(scalar.name);
    if (before === undefined) {
      if (scalars.length === maxScalars) throw tooMany(place);
      named.set(scalar.name, scalars.length);
      return scalars.push(scalar) - 1;
    }
    const { low, high } = scalars[before];
    if (shared && (low !== scalar.low || high !== scalar.high)) {
      const expected = `[${low}, ${high}], as where the name stands first`;
      throw invalidRange(place, scalar.name, expected, `[${scalar.low}, ${scalar.high}]`);
    }
    return before;
  };
  const roots = documents.map((document, index) => visit(document, documents.length === 1 ? "" : `[${index}]`));
  if (scalars.length === 0) {
    throw new LoomweightError({
      code: "NOTHING_TO_SEARCH",
      problem: "no number of the recipe is to be searched for",
      fix: "Write a range where a number stands, such as weight: { search: [0, 1] }.",
      file,
    });
  }
  return {
    scalars,
    recipeAt: (values) =>
      (roots.length === 1 ? fill(roots[0], values) : roots.map((root) => fill(root, values))) as object,
  };
}

function fill(template: Template, values: readonly number[]): unknown {
  if (template.kind === "searched") return values[template.index];
  if (template.kind === "plain") return template.value;
  if (template.kind === "list") return template.items.map((item) => fill(item, values));
  return Object.fromEntries(template.entries.map(([key, item]) => [key, fill(item, values)]));
}

interface ReadRange extends SearchedScalar {
  /** Whether it has a name of its own, which may stand in several places. */
  readonly shared: boolean;
  readonly place: Place;
}

function readRange(located: Located, path: string): ReadRange {
  const { place } = located;
  const entries = located.value as ReadonlyMap<string, { readonly item: Located; readonly keyPlace: Place }>;
  for (const [key, { keyPlace }] of entries) {
    if (!rangeKeys.includes(key)) throw invalidRange(keyPlace, path, `the keys ${rangeKeys.join(", ")}`, `"${key}"`);
  }
  const name = entries.get("name")?.item.value ?? undefined;
  if (name !== undefined && (typeof name !== "string" || name === "" || name.length > 100)) {
    throw invalidRange(place, path, "a name that is text of at most 100 characters", describe(name));
  }
  const range = entries.get("search")?.item.value;
  const [low, high] =
    range !== undefined && isLocatedList(range) && range.length === 2 ? range.map(({ value }) => value) : [];
  if (!isFiniteNumber(low) || !isFiniteNumber(high) || !(low < high) || !Number.isFinite(high - low)) {
    throw invalidRange(place, path, "search: [low, high] with low < high", describe(range));
  }
  const start = entries.get("start")?.item.value ?? (low + high) / 2;
  if (!isFiniteNumber(start) || start < low || start > high) {
    throw invalidRange(place, path, `a start from ${low} to ${high}`, describe(start));
  }
  return { name: name ?? path, shared: name !== undefined, low, high, start, place };
}

const isFiniteNumber = (value: unknown): value is number => typeof value === "number" && Number.isFinite(value);

function describe(value: Located["value"] | undefined): string {
  if (value === undefined) return "nothing";
  if (isLocatedList(value)) return `[${value.map((item) => describe(item.value)).join(", ")}]`.slice(0, 200);
  if (isLocatedMap(value)) return "a mapping";
  return String(value).slice(0, 200);
}

function invalidRange(place: Place, option: string, expected: string, found: string): LoomweightError {
  const problem = "a range to search in has the wrong form";
  return new LoomweightError({
    code: "INVALID_OPTION",
    problem,
    option: option.slice(0, 200),
    expected,
    found,
    ...place,
  });
}

function tooMany(place: Place): LoomweightError {
  return new LoomweightError({
    code: "RECIPE_TOO_LARGE",
    problem: "the recipe has too many numbers to search for",
    expected: `at most ${maxScalars}`,
    fix: "Let several places share a number: give their ranges one `name`.",
    ...place,
  });
}
