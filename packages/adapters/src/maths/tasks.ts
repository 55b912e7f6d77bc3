import { gather, reshape, type Value } from "@loomweight/graph";
import { choice, createRandom, invalidOption, type OptionSpec } from "@loomweight/tensor";

// What adapters for several tasks share: policies, task ids, the order of tasks in training.

/** What tasks share: `multiple` nothing, `half-down` / `half-up` one projection with its bias, `single` all. */
export type Sharing = "multiple" | "half-down" | "half-up" | "single";
export const sharingOption: OptionSpec<Sharing> = choice(
  ["multiple", "half-down", "half-up", "single"],
  "single",
  "what the tasks share: nothing, the down- or the up-projection, or the whole adapter",
);

/** Copies of the down- and up-projection for so many tasks. */
export function copies(sharing: Sharing, tasks: number): { down: number; up: number } {
  return {
    down: sharing === "multiple" || sharing === "half-up" ? tasks : 1,
    up: sharing === "multiple" || sharing === "half-down" ? tasks : 1,
  };
}

/** One task's slice of [tasks, …] by its number, a value int64 [] or known here; what is shared (one copy) has no choice. */
export function ofTask(stacked: Value, task: Value | number): Value {
  const [count, ...shape] = stacked.shape as readonly number[];
  return count === 1 ? reshape(stacked, shape) : gather(stacked, task, 0);
}

export interface TaskSchedule {
  /** `proportional`: each task as often as it has batches; `balanced`: all alike; a temperature T: p ∝ share^(1 / T). */
  readonly mode: "proportional" | "balanced" | { readonly temperature: number };
  readonly batchSize: number;
  readonly seed: number;
}

/** Shares of the tasks, summing to 1, for sizes in samples. T = 1 is proportional, T → ∞ uniform. */
export function taskShares(sizes: readonly number[], temperature: number): number[] {
  if (!(temperature > 0)) throw invalidOption({ option: "temperature" }, temperature, "a number above 0");
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const weights = sizes.map((size) => (size / total) ** (1 / temperature));
  const sum = weights.reduce((a, b) => a + b, 0);
  return weights.map((weight) => weight / sum);
}

/**
 * The task of each batch of one epoch: every batch holds one task. As many batches as all tasks have together. An epoch's
 * order follows from seed and epoch. Throws `INVALID_OPTION`.
 */
export function taskSchedule(sizes: Readonly<Record<string, number>>, options: TaskSchedule, epoch = 0): string[] {
  const names = Object.keys(sizes);
  const batches = names.map((name) => Math.ceil(sizes[name] / options.batchSize));
  const total = batches.reduce((sum, count) => sum + count, 0);
  const random = createRandom(options.seed, `tasks/${epoch}`);
  if (options.mode === "proportional") {
    const list = names.flatMap((name, i) => Array<string>(batches[i]).fill(name));
    return [...random.permutation(total)].map((at) => list[at]);
  }
  if (options.mode === "balanced") {
    return [...random.permutation(total)].map((at) => names[at % names.length]);
  }
  const shares = taskShares(Object.values(sizes), options.mode.temperature);
  return Array.from({ length: total }, (_, i) => {
    let left = random.uniform(i);
    const chosen = shares.findIndex((share) => {
      left -= share;
      return left < 0;
    });
    return names[chosen < 0 ? names.length - 1 : chosen];
  });
}
