import { elementwise, type LazyTensor } from "./lazy/lazy-tensor.ts";
import { streamTiles } from "./lazy/stream.ts";

/**
 * base + Σ active τᵢ / C per entry, where C models are active (|τᵢ| > epsilon); an entry that model i alone changed is
 * taken times `factors[i]`. arXiv:2601.13572.
 */
export function addReinforced(
  base: LazyTensor,
  models: readonly LazyTensor[],
  epsilon: number,
  factors: readonly number[],
): LazyTensor {
  return elementwise([base, ...models], (_, out, inputs) => {
    const start = inputs[0];
    for (let i = 0; i < out.length; i++) {
      let sum = 0;
      let active = 0;
      let last = 0;
      for (let model = 1; model < inputs.length; model++) {
        const change = inputs[model][i] - start[i];
        // Written so that a NaN is active and shows in the result.
        if (Math.abs(change) <= epsilon) continue;
        sum += change;
        active++;
        last = model - 1;
      }
      out[i] = active === 0 ? start[i] : start[i] + (active === 1 ? sum * factors[last] : sum / active);
    }
  });
}

/** Per model: how many entries it alone changed by more than epsilon, and how many of its active ones others share. */
export async function countActive(
  base: LazyTensor,
  models: readonly LazyTensor[],
  epsilon: number,
): Promise<{ shared: number; own: number }[]> {
  const shared = new Array<number>(models.length).fill(0);
  const own = new Array<number>(models.length).fill(0);
  await streamTiles([base, ...models], (inputs) => {
    const start = inputs[0];
    for (let i = 0; i < start.length; i++) {
      let active = 0;
      for (let model = 1; model < inputs.length; model++) if (Math.abs(inputs[model][i] - start[i]) > epsilon) active++;
      if (active === 0) continue;
      const counts = active === 1 ? own : shared;
      for (let model = 1; model < inputs.length; model++) {
        if (Math.abs(inputs[model][i] - start[i]) > epsilon) counts[model - 1]++;
      }
    }
  });
  return models.map((_, index) => ({ shared: shared[index], own: own[index] }));
}
