/** A layer that competes for ranks. */
export interface RankedLayer {
  readonly path: string;
  /** What each of its directions is worth, the best first: as many as it may have ranks. */
  readonly shares: ArrayLike<number>;
  /** The layer whose inputs it has too, and which keeps the larger rank of the two; default itself. */
  readonly owner?: string;
}

/**
 * Rank of each layer where the `budget` directions that are worth most get one each; of equal ones the earlier layer's.
 * Source: Paischer et al. 2024, arXiv:2410.07170, §3.2. Differs: the authors' order of equal ones is left to chance.
 */
export function distributeRanks(layers: readonly RankedLayer[], budget: number): Map<string, number> {
  const pool = layers.flatMap(({ path, shares }) => Array.from(shares, (share) => ({ path, share })));
  pool.sort((a, b) => b.share - a.share); // stable: ties keep the order of layers and directions
  const ranks = new Map(layers.map(({ path }) => [path, 0]));
  for (const { path } of pool.slice(0, budget)) ranks.set(path, (ranks.get(path) as number) + 1);
  for (const { path, owner = path } of layers) {
    const [first, second] = [ranks.get(owner) as number, ranks.get(path) as number];
    if (second > first) ranks.set(owner, second).set(path, first);
  }
  return ranks;
}
