import type { Random } from "@loomweight/kernels";
import { cutLargest } from "../magnitude-cut.ts";

export type MajoritySign = "total" | "frequency";

/** Keeps the ⌊density · n⌋ entries of largest magnitude in place, others become 0; of equal ones the earlier stay. */
export function pruneByMagnitude(values: Float64Array, density: number): void {
  const keep = Math.floor(density * values.length);
  if (keep >= values.length) return;
  if (keep === 0) {
    values.fill(0);
    return;
  }
  const { threshold, lastIndex } = cutLargest(values.map(Math.abs), keep);
  for (let i = 0; i < values.length; i++) {
    const magnitude = Math.abs(values[i]);
    if (magnitude < threshold || (magnitude === threshold && i > lastIndex)) values[i] = 0;
  }
}

/** DARE: keeps each entry with probability `density` in place and divides it by that; others become 0. */
export function pruneByChance(values: Float64Array, density: number, random: Random): void {
  if (density >= 1) return;
  const draws = new Float64Array(values.length);
  random.uniformsInto(draws);
  for (let i = 0; i < values.length; i++) values[i] = draws[i] < density ? values[i] / density : 0;
}

/** Σ w t, entry by entry. */
export function weightedTotal(tensors: readonly Float64Array[], weights: readonly number[]): Float64Array {
  const out = new Float64Array(tensors[0].length);
  for (const [index, values] of tensors.entries()) {
    const weight = weights[index];
    for (let i = 0; i < out.length; i++) out[i] += weight * values[i];
  }
  return out;
}

/**
 * TIES: elects a sign for each entry, by the sum of the values (`total`) or of their signs (`frequency`), 0 counting as
 * plus; then Σ w t over the tensors that agree, divided by how many those are.
 */
export function electAndMerge(
  tensors: readonly Float64Array[],
  weights: readonly number[],
  majoritySign: MajoritySign,
): Float64Array {
  const out = new Float64Array(tensors[0].length);
  for (let i = 0; i < out.length; i++) {
    let vote = 0;
    for (const values of tensors) vote += majoritySign === "total" ? values[i] : Math.sign(values[i]);
    const elected = vote >= 0 ? 1 : -1;
    let sum = 0;
    let agreeing = 0;
    for (const [index, values] of tensors.entries()) {
      if (Math.sign(values[i]) !== elected) continue;
      sum += weights[index] * values[i];
      agreeing++;
    }
    out[i] = sum / Math.max(1, agreeing);
  }
  return out;
}
