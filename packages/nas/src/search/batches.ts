import type { Batch } from "@loomweight/graph/training";
import { LoomweightError } from "@loomweight/tensor";
import type { SearchBatches } from "./task.ts";

/** Batches one after another, from `position` on; a list is begun again when it ends. */
export interface BatchStream {
  next(): Promise<Batch>;
  close(): Promise<void>;
}

export function streamBatches(source: SearchBatches, position: number, name: string): BatchStream {
  if (typeof source !== "function") {
    let at = position;
    return {
      async next() {
        if (source.length === 0) throw noBatches(name, "an empty list");
        return source[at++ % source.length];
      },
      async close() {},
    };
  }
  const from = source(position);
  const iterator = Symbol.asyncIterator in from ? from[Symbol.asyncIterator]() : from[Symbol.iterator]();
  return {
    async next() {
      const { done, value } = await iterator.next();
      if (done) throw noBatches(name, "an end before the search's");
      return value;
    },
    async close() {
      await iterator.return?.();
    },
  };
}

function noBatches(name: string, found: string): LoomweightError {
  return new LoomweightError({
    code: "NO_BATCHES",
    problem: `the batches of "${name}" ran out`,
    expected: "one for every step: epochs · stepsPerEpoch",
    found,
    fix: "Give a list, which is begun again, or batches of more epochs.",
  });
}
