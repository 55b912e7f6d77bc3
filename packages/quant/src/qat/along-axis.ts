import { type Dim, reduceMean, reduceSum, reshape, type Value } from "@loomweight/graph";
import { LoomweightError } from "@loomweight/tensor";
import { invalid } from "../options.ts";

/** Where the elements that share a scale lie: all of them together, or those at one place of an axis. */
export interface Sharing {
  /** Sizes of the value. */
  readonly shape: readonly number[];
  /** Axes that are summed over. */
  readonly others: readonly number[];
  /** How many scales there are, and how many elements share one. */
  readonly scales: number;
  readonly elements: number;
}

/** `axis` undefined: one scale for all. Negative axes count from the end. Throws `INVALID_OPTION`, `SYMBOLIC_SHAPE`. */
export function sharingOf(x: Value, axis: number | undefined, where: string): Sharing {
  const shape = x.shape.map((size: Dim) => {
    if (typeof size === "number") return size;
    throw new LoomweightError({
      code: "SYMBOLIC_SHAPE",
      problem: `${where}: a trained scale counts the elements that share it`,
      expected: "sizes that are numbers",
      found: `[${x.shape}]`,
      fix: "Instantiate the training graph with the batch's sizes.",
    });
  });
  const place = axis === undefined ? undefined : axis < 0 ? axis + shape.length : axis;
  if (place !== undefined && !(Number.isInteger(place) && place >= 0 && place < shape.length)) {
    throw invalid(`${where}.axis`, axis, `an axis of [${shape}]`);
  }
  const all = shape.reduce((product, size) => product * size, 1);
  const scales = place === undefined ? 1 : shape[place];
  return { shape, others: shape.map((_, at) => at).filter((at) => at !== place), scales, elements: all / scales };
}

/** One number per scale [scales] as something that multiplies the value. */
export function spreadScales(scale: Value, { shape, others }: Sharing): Value {
  return reshape(
    scale,
    shape.map((size, at) => (others.includes(at) ? 1 : size)),
  );
}

/** Sums, or means, of the elements that share a scale: [scales]. */
export const sumPerScale = (x: Value, { others, scales }: Sharing): Value =>
  reshape(others.length === 0 ? x : reduceSum(x, others), [scales]);
export const meanPerScale = (x: Value, { others, scales }: Sharing): Value =>
  reshape(others.length === 0 ? x : reduceMean(x, others), [scales]);
