import { createRandom, invalidOption } from "@loomweight/tensor";
import { type Dataset, sampleCount, takeSamples } from "./dataset.ts";

export interface BatchOptions {
  readonly batchSize: number;
  /** Passes over the samples; default 1; `Infinity` never ends. */
  readonly epochs?: number;
  /** Shuffle each epoch by this seed: epoch e of one seed is the same on every platform. Default: in order. */
  readonly shuffle?: number | bigint;
  /** What becomes of the samples that do not fill a batch at an epoch's end; default "keep". */
  readonly rest?: "keep" | "drop";
  /** Batches at the start that are left out, without reading them: how a resumed run goes on. Default 0. */
  readonly skip?: number;
}

/** Indices of one epoch: 0 … count − 1, shuffled by seed and epoch where there is a seed. */
export function epochOrder(count: number, epoch: number, seed?: number | bigint): Uint32Array {
  if (seed === undefined) return Uint32Array.from({ length: count }, (_, i) => i);
  return createRandom(seed, `epoch/${epoch}`).permutation(count);
}

/** How many batches an epoch of `count` samples has. */
export function batchesPerEpoch(count: number, { batchSize, rest = "keep" }: BatchOptions): number {
  return rest === "keep" ? Math.ceil(count / batchSize) : Math.floor(count / batchSize);
}

/** Indices of each batch: what `batches` takes samples by, for data that is read elsewhere. Throws `INVALID_OPTION`. */
export function* batchIndices(count: number, options: BatchOptions): Generator<Uint32Array> {
  const { batchSize, epochs = 1, shuffle, skip = 0 } = options;
  if (!Number.isInteger(batchSize) || batchSize < 1) {
    throw invalidOption({ option: "batchSize" }, batchSize, "a whole number of at least 1");
  }
  if (!(epochs >= 0)) throw invalidOption({ option: "epochs" }, epochs, "a number of at least 0");
  if (!Number.isInteger(skip) || skip < 0)
    throw invalidOption({ option: "skip" }, skip, "a whole number of at least 0");
  const each = batchesPerEpoch(count, options);
  if (each === 0) return;
  for (let epoch = Math.floor(skip / each); epoch < epochs; epoch++) {
    const order = epochOrder(count, epoch, shuffle);
    for (let batch = Math.max(0, skip - epoch * each); batch < each; batch++) {
      yield order.subarray(batch * batchSize, (batch + 1) * batchSize);
    }
  }
}

/** Batches of a dataset in memory: each a copy of the samples it takes, first axis at most `batchSize`. */
export function* batches<D extends Dataset>(dataset: D, options: BatchOptions): Generator<D> {
  for (const indices of batchIndices(sampleCount(dataset), options)) yield takeSamples(dataset, indices);
}
