import { createRandom, LoomweightError, type Random } from "@loomweight/tensor";
import type { Architecture } from "../space/choice.ts";
import { allArchitectures, countArchitectures, type Space } from "../space/space.ts";

export interface CandidateOptions {
  /**
   * "all", "random" (`count` different networks), or "evolution" (generations of `population`, half of them crossed and
   * half mutated from the best `parents`, until `count` are scored). Default "all".
   */
  readonly strategy?: "all" | "random" | "evolution";
  /** Networks scored; default 100, at most as many as there are. */
  readonly count?: number;
  /** Default 20. */
  readonly population?: number;
  /** Default 5. */
  readonly parents?: number;
  /** Chance that a decision of a mutated network is drawn anew; default 0.1. */
  readonly mutation?: number;
  /** Networks that it refuses are not scored: a limit of size. */
  readonly accepts?: (architecture: Architecture) => boolean;
  readonly seed?: number;
}

export interface Scored {
  readonly architecture: Architecture;
  readonly score: number;
}

/**
 * The network of highest score, and all that were scored, best first (of equals the earlier one): what follows a
 * training with `spos`, where the score is the accuracy with inherited weights. Evolution as in SPOS, arXiv:1904.00420.
 * Throws `INVALID_OPTION`, and `NO_CANDIDATES` where none is accepted.
 */
export async function bestArchitecture(
  space: Space,
  score: (architecture: Architecture) => number | Promise<number>,
  options: CandidateOptions = {},
): Promise<Scored & { readonly scored: readonly Scored[] }> {
  const { strategy = "all", population = 20, parents = 5, mutation = 0.1, accepts = () => true, seed = 0 } = options;
  const count = Math.min(options.count ?? 100, countArchitectures(space));
  for (const [option, value] of Object.entries({ count, population, parents })) {
    if (Number.isSafeInteger(value) && value >= 1) continue;
    throw invalid(option, "a whole number from 1 on", value);
  }
  if (!(mutation >= 0 && mutation <= 1)) throw invalid("mutation", "0 to 1", mutation);
  const scored = new Map<string, Scored>();
  const seen = new Set<string>();
  const consider = async (architecture: Architecture): Promise<void> => {
    const key = JSON.stringify(architecture);
    if (seen.has(key)) return;
    seen.add(key);
    if (accepts(architecture)) scored.set(key, { architecture, score: await score(architecture) });
  };
  const ranked = () => [...scored.values()].sort((a, b) => b.score - a.score);
  if (strategy === "all") for (const each of allArchitectures(space)) await consider(each);
  else {
    const random = createRandom(seed, "candidates");
    // A bound on draws: spaces may have fewer networks that are accepted than are asked for.
    for (let draw = 0; scored.size < count && seen.size < countArchitectures(space) && draw < 200 * count; draw++) {
      const best = ranked().slice(0, parents);
      const first = strategy === "random" || scored.size < population || best.length === 0;
      await consider(
        first ? drawn(space, random.child(`${draw}`)) : child(space, best, mutation, draw, random.child(`${draw}`)),
      );
    }
  }
  const [best] = ranked();
  if (best !== undefined) return { ...best, scored: ranked() };
  throw new LoomweightError({
    code: "NO_CANDIDATES",
    problem: "no network of the space is accepted",
    expected: "one or more that `accepts` takes",
    found: `${seen.size} refused`,
  });
}

/** Each decision uniformly. */
function drawn(space: Space, random: Random): Architecture {
  return Object.fromEntries(
    Object.values(space.decisions).map(({ name, choices }) => [
      name,
      choices[Math.floor(random.child(name).uniform(0) * choices.length)],
    ]),
  );
}

/** In turn: two of the best crossed decision by decision, or one of them mutated. */
function child(space: Space, best: readonly Scored[], mutation: number, turn: number, random: Random): Architecture {
  const pick = (name: string) => best[Math.floor(random.child(name).uniform(0) * best.length)].architecture;
  const [first, second, fresh] = [pick("first"), pick("second"), drawn(space, random.child("fresh"))];
  return Object.fromEntries(
    Object.keys(space.decisions).map((name) => {
      const chance = random.child("chance").child(name).uniform(0);
      if (turn % 2 === 0) return [name, chance < 0.5 ? first[name] : second[name]];
      return [name, chance < mutation ? fresh[name] : first[name]];
    }),
  );
}

function invalid(option: string, expected: string, found: number): LoomweightError {
  return new LoomweightError({ code: "INVALID_OPTION", option, problem: "invalid value", expected, found: `${found}` });
}
