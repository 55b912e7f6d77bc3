import { createRandom, invalidOption, LoomweightError } from "@loomweight/tensor";
import { advance, candidates, type NormalNumbers, type SearchState } from "./cma-es.ts";
import { readSearchSpace, type SearchSpace } from "./search-space.ts";
import {
  type BestCandidate,
  checkSearchState,
  type NewSearchOptions,
  newSearchState,
  type RecipeSearchState,
} from "./search-state.ts";

/** One recipe to be scored. */
export interface SearchCandidate {
  /** With numbers for the ranges: what `mergeModel` and `parseRecipe` take. */
  readonly recipe: object;
  /** The numbers, by the name of their scalar. */
  readonly values: Readonly<Record<string, number>>;
  /** 0: the start; candidates of the first generation have 1. */
  readonly generation: number;
  /** Position within its generation. */
  readonly index: number;
}

/** A candidate and what it was worth. */
export interface ScoredCandidate extends SearchCandidate {
  /** Lower is better; a number that is not finite counts as worst. */
  readonly score: number;
}

export interface SearchRecipeOptions extends NewSearchOptions {
  /** Generations in all, those of a continued state among them; default 20. */
  readonly generations?: number;
  /** What an earlier search left, to be continued; `population`, `seed` and `spread` are then its own. */
  readonly state?: unknown;
  /** Name of the recipe's file, for messages. */
  readonly file?: string;
  readonly signal?: AbortSignal;
  /** Called after each candidate. */
  readonly onCandidate?: (candidate: ScoredCandidate) => void;
  /** Called after each candidate with all that is needed to continue; the next one is scored when it has returned. */
  readonly onState?: (state: RecipeSearchState) => void | Promise<void>;
}

export interface RecipeSearchResult {
  /** The best recipe that was scored. */
  readonly recipe: object;
  readonly values: Readonly<Record<string, number>>;
  readonly score: number;
  /** Score of the recipe that the search began with; NaN where it was no finite number. */
  readonly startScore: number;
  /** Generations that the whole search has had. */
  readonly generations: number;
  readonly state: RecipeSearchState;
}

/**
 * Searches for the numbers of a recipe that a score likes best, lowest first, by CMA-ES: any scalar that is written as
 * a range (`readSearchSpace`). The start is scored first, so the result is never worse than it. Candidates are drawn
 * from (seed, generation, index) alone: a search that is continued from its state goes on as if it had not stopped.
 * A candidate beyond the end of a range is reflected into it.
 *
 * Throws what `readSearchSpace`, `checkSearchState` and `score` throw, `INVALID_OPTION`, `NO_FINITE_SCORE`, and the
 * reason of an aborted `signal`.
 */
export async function searchRecipe(
  recipe: string | object,
  score: (candidate: SearchCandidate) => number | Promise<number>,
  options: SearchRecipeOptions = {},
): Promise<RecipeSearchResult> {
  const { generations = 20, file, signal, onCandidate, onState } = options;
  if (!Number.isSafeInteger(generations) || generations < 1) {
    throw invalidOption({ option: "generations" }, generations, "a whole number of at least 1");
  }
  const space = readSearchSpace(recipe, file);
  let state = options.state === undefined ? newSearchState(space, options) : checkSearchState(options.state, space);

  const evaluate = async (values: readonly number[], generation: number, index: number): Promise<number> => {
    signal?.throwIfAborted();
    const candidate = { recipe: space.recipeAt(values), values: namedValues(space, values), generation, index };
    const found = Number(await score(candidate));
    onCandidate?.({ ...candidate, score: found });
    return found;
  };
  const keep = async (next: RecipeSearchState): Promise<void> => {
    state = next;
    await onState?.(state);
  };

  if (state.startScore === null && state.search.generation === 0 && state.scores.length === 0) {
    const values = space.scalars.map(({ start }) => start);
    const found = await evaluate(values, 0, 0);
    await keep({ ...state, startScore: storable(found), best: better(undefined, values, found, 0) });
  }
  while (state.search.generation < generations) {
    const generation = state.search.generation + 1;
    const points = candidates(state.search, normalNumbers).map((point) => point.map(reflected));
    const scores = [...state.scores];
    for (let index = scores.length; index < points.length; index++) {
      const values = valuesAt(space, points[index]);
      const found = await evaluate(values, generation, index);
      scores.push(storable(found));
      const best = better(state.best, values, found, generation);
      const ended = scores.length === points.length;
      await keep({
        ...state,
        best,
        ...(ended ? afterGeneration(state.search, points, scores) : { scores: [...scores] }),
      });
    }
  }
  const { best, startScore } = state;
  if (best === undefined) throw noFiniteScore();
  return {
    recipe: space.recipeAt(best.values),
    values: namedValues(space, best.values),
    score: best.score,
    startScore: startScore ?? Number.NaN,
    generations: state.search.generation,
    state,
  };
}

function afterGeneration(
  search: SearchState,
  points: readonly (readonly number[])[],
  scores: readonly (number | null)[],
): Pick<RecipeSearchState, "search" | "scores"> {
  const known = scores.map((score) => score ?? Number.POSITIVE_INFINITY);
  return { search: advance(search, points, known), scores: [] };
}

const normalNumbers: NormalNumbers = (seed, name, count) => {
  const numbers = new Float64Array(count);
  createRandom(seed, name).normalsInto(numbers);
  return [...numbers];
};

/** The coordinate folded into [0, 1] as by mirrors at both ends. */
function reflected(value: number): number {
  const within = Math.abs(value) % 2;
  return within > 1 ? 2 - within : within;
}

function valuesAt({ scalars }: SearchSpace, point: readonly number[]): number[] {
  // Clamped: rounding may lead beyond the end.
  return scalars.map(({ low, high }, i) => Math.min(high, Math.max(low, low + point[i] * (high - low))));
}

function namedValues({ scalars }: SearchSpace, values: readonly number[]): Record<string, number> {
  return Object.fromEntries(scalars.map(({ name }, i) => [name, values[i]]));
}

const storable = (score: number): number | null => (Number.isFinite(score) ? score : null);

function better(
  best: BestCandidate | undefined,
  values: readonly number[],
  score: number,
  generation: number,
): BestCandidate | undefined {
  if (!Number.isFinite(score) || (best !== undefined && best.score <= score)) return best;
  return { values, score, generation };
}

function noFiniteScore(): LoomweightError {
  return new LoomweightError({
    code: "NO_FINITE_SCORE",
    problem: "no candidate of the search had a finite score",
    fix: "Let the score return a number, lowest for the best; look at what it returns for one candidate.",
  });
}
