/** How the next token is drawn. */
export interface Sampling {
  /** Divides the logits; above 0. */
  readonly temperature: number;
  /** Draw among this many likeliest tokens; undefined: all. */
  readonly topK?: number;
  /** Draw among the likeliest tokens that together have this share of the probability; undefined: all. */
  readonly topP?: number;
}

/** The likeliest token; the lowest id among equals. NaN never wins. */
export function likeliestToken(logits: ArrayLike<number>): number {
  let best = 0;
  let height = Number.NEGATIVE_INFINITY;
  for (let id = 0; id < logits.length; id++) {
    if (logits[id] > height) {
      height = logits[id];
      best = id;
    }
  }
  return best;
}

/**
 * A token drawn with probability softmax(logits / temperature), cut to the `topK` likeliest and then to the smallest
 * set that holds `topP` of what is left, as samplers of the field cut. `uniform` is in [0, 1).
 */
export function drawToken(logits: ArrayLike<number>, sampling: Sampling, uniform: number): number {
  const { temperature, topK, topP } = sampling;
  const ids = Array.from({ length: logits.length }, (_, id) => id)
    .filter((id) => !Number.isNaN(logits[id]))
    .sort((a, b) => logits[b] - logits[a] || a - b);
  if (ids.length === 0) return 0;
  const kept = topK === undefined ? ids : ids.slice(0, topK);
  const highest = logits[kept[0]];
  const weights = kept.map((id) => Math.exp((logits[id] - highest) / temperature));
  let total = sum(weights);
  if (topP !== undefined && topP < 1) {
    let share = 0;
    let count = 0;
    while (count < weights.length && share < topP * total) share += weights[count++];
    weights.length = Math.max(1, count);
    total = sum(weights);
  }
  let left = uniform * total;
  for (const [i, weight] of weights.entries()) {
    left -= weight;
    if (left < 0) return kept[i];
  }
  return kept[weights.length - 1];
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
