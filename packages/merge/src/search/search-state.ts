import { invalidOption, LoomweightError } from "@loomweight/tensor";
import { type SearchState, startSearch } from "./cma-es.ts";
import type { SearchedScalar, SearchSpace } from "./search-space.ts";

/** The whole state of a search over recipes: plain data for a JSON file, after each candidate. */
export interface RecipeSearchState {
  readonly kind: "loomweight-search";
  readonly version: 1;
  /** What is searched for. A state goes on with a recipe that has the same. */
  readonly scalars: readonly SearchedScalar[];
  /** The search distribution, over the unit cube: 0 is a scalar's low end, 1 its high end. */
  readonly search: SearchState;
  /** Scores of the present generation's candidates, as far as they are known; null stands for no finite number. */
  readonly scores: readonly (number | null)[];
  /** Score of the numbers that the search began with. */
  readonly startScore: number | null;
  /** The best candidate yet, the start among them. */
  readonly best?: BestCandidate;
}

export interface BestCandidate {
  /** One a scalar, in the order of `scalars`. */
  readonly values: readonly number[];
  readonly score: number;
  /** 0: the start, before the first generation. */
  readonly generation: number;
}

export interface NewSearchOptions {
  /** Candidates per generation, at least 4; default 4 + ⌊3 ln n⌋ for n scalars. */
  readonly population?: number;
  /** Seed of the candidates; default 0. */
  readonly seed?: number;
  /** How far the first candidates spread, as a share of each range, above 0 and at most 1; default 0.3. */
  readonly spread?: number;
}

const maxPopulation = 10_000;

/** The state before the first candidate. Throws `INVALID_OPTION`. */
export function newSearchState({ scalars }: SearchSpace, options: NewSearchOptions = {}): RecipeSearchState {
  const { spread = 0.3, population, seed = 0 } = options;
  if (!(spread > 0 && spread <= 1)) throw invalidOption({ option: "spread" }, spread, "above 0 and at most 1");
  if (!Number.isSafeInteger(seed)) throw invalidOption({ option: "seed" }, seed, "a whole number");
  if (
    population !== undefined &&
    !(Number.isSafeInteger(population) && population >= 4 && population <= maxPopulation)
  ) {
    throw invalidOption({ option: "population" }, population, `a whole number from 4 to ${maxPopulation}`);
  }
  const start = scalars.map((scalar) => (scalar.start - scalar.low) / (scalar.high - scalar.low));
  const search = startSearch({ start, sigma: spread, population, seed });
  return { kind: "loomweight-search", version: 1, scalars, search, scores: [], startScore: null };
}

/**
 * Checks a state that was read from JSON against the recipe that it is to continue. `file` is where it comes from, for
 * messages. Throws `INVALID_STATE`, and `STATE_MISMATCH` where the recipe searches for something else.
 */
export function checkSearchState(state: unknown, space: SearchSpace, file?: string): RecipeSearchState {
  const n = space.scalars.length;
  const given = (state ?? {}) as Partial<RecipeSearchState>;
  if (given.kind !== "loomweight-search") throw invalidState(file, "this is no state of a search");
  if (given.version !== 1) throw invalidState(file, "the state has another version", "1", String(given.version));
  const sameScalars =
    Array.isArray(given.scalars) &&
    given.scalars.length === n &&
    space.scalars.every(({ name, low, high, start }, index) => {
      const other = (given.scalars?.[index] ?? {}) as Partial<SearchedScalar>;
      return other.name === name && other.low === low && other.high === high && other.start === start;
    });
  if (!sameScalars) {
    throw new LoomweightError({
      code: "STATE_MISMATCH",
      problem: "the state belongs to a search for other numbers",
      expected: namesOf(space.scalars),
      found: Array.isArray(given.scalars) ? namesOf(given.scalars) : "none",
      fix: "Continue with the recipe that the state was made with, or begin anew with another state file.",
      file,
    });
  }
  const search = given.search as Partial<SearchState> | undefined;
  const isCount = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  const population = search?.population as number;
  const best = given.best as Partial<BestCandidate> | undefined;
  const sound =
    isCount(search?.generation) &&
    Number.isSafeInteger(search?.seed) &&
    Number.isSafeInteger(population) &&
    population >= 4 &&
    population <= maxPopulation &&
    typeof search?.sigma === "number" &&
    search.sigma > 0 &&
    Number.isFinite(search.sigma) &&
    isNumbers(search.mean, n) &&
    isNumbers(search.factor, n * n) &&
    search.mean.every((_, i) => (search.factor as number[])[i * n + i] > 0) &&
    isNumbers(search.covariancePath, n) &&
    isNumbers(search.stepPath, n) &&
    (search.best === undefined || (isNumbers(search.best.point, n) && Number.isFinite(search.best.score))) &&
    isScore(given.startScore) &&
    Array.isArray(given.scores) &&
    given.scores.length <= population &&
    given.scores.every(isScore) &&
    (best === undefined ||
      (isNumbers(best.values, n) &&
        Number.isFinite(best.score) &&
        isCount(best.generation) &&
        insideOf(space, best.values)));
  if (!sound) throw invalidState(file, "the state is damaged");
  return given as RecipeSearchState;
}

const isNumbers = (value: unknown, count: number): value is number[] =>
  Array.isArray(value) && value.length === count && value.every((each) => Number.isFinite(each));

const isScore = (value: unknown) => value === null || Number.isFinite(value);

const insideOf = ({ scalars }: SearchSpace, values: readonly number[]) =>
  scalars.every(({ low, high }, i) => values[i] >= low && values[i] <= high);

function namesOf(scalars: readonly SearchedScalar[]): string {
  const names = scalars.map((each) => `${each?.name} in [${each?.low}, ${each?.high}] from ${each?.start}`);
  return names.join(", ").slice(0, 500);
}

function invalidState(file: string | undefined, problem: string, expected?: string, found?: string): LoomweightError {
  return new LoomweightError({ code: "INVALID_STATE", problem, expected, found, file });
}
