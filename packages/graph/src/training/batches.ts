import { LoomweightError } from "@loomweight/tensor";
import type { Batch, Types } from "./loss.ts";

/** Batches in order, or a function that gives them from a position on: resuming then skips without reading. */
export type BatchSource =
  | Iterable<Batch>
  | AsyncIterable<Batch>
  | ((position: number) => Iterable<Batch> | AsyncIterable<Batch>);

/** Reads batches one by one, from `position` on. */
export function batchReader(
  source: BatchSource,
  position: number,
): { next(): Promise<Batch | undefined>; close(): Promise<void> } {
  let iterator: Iterator<Batch> | AsyncIterator<Batch> | undefined;
  let skip = typeof source === "function" ? 0 : position;
  const open = () => {
    const from = typeof source === "function" ? source(position) : source;
    iterator ??= Symbol.asyncIterator in from ? from[Symbol.asyncIterator]() : from[Symbol.iterator]();
    return iterator;
  };
  return {
    async next() {
      const from = open();
      for (; skip > 0; skip--) if ((await from.next()).done) return undefined;
      const { done, value } = await from.next();
      return done ? undefined : value;
    },
    async close() {
      await iterator?.return?.();
    },
  };
}

/** Names, dtypes and shapes of a batch; throws `INVALID_BATCH` for what is none. */
export function typesOf(batch: Batch): Types {
  if (typeof batch !== "object" || batch === null) throw invalidBatch(String(batch));
  return Object.fromEntries(
    Object.entries(batch).map(([name, tensor]) => {
      if (!Array.isArray(tensor?.shape) || typeof tensor.dtype !== "string") throw invalidBatch(`${name}: ${tensor}`);
      return [name, { dtype: tensor.dtype, shape: tensor.shape }];
    }),
  );
}

/** A text that is the same for batches of the same types. */
export function shapeKey(types: Types): string {
  return Object.entries(types)
    .map(([name, { dtype, shape }]) => `${name} ${dtype} [${shape}]`)
    .join("; ");
}

/** Rows of a batch: the first size of its first tensor; 1 for scalars. */
export function rowsOf(batch: Batch): number {
  return Object.values(batch)[0]?.shape[0] ?? 1;
}

function invalidBatch(found: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_BATCH",
    problem: "a batch is a record of tensors",
    expected: "{ name: tensor, … }",
    found,
  });
}
