import { type Tensor, toFloat64 } from "@loomweight/tensor";

/** Share of the newest batch in the moving mean. */
const newest = 0.1;
/** Batches before it judges: the first ones say little. */
const patience = 5;

/** Watches the mean prediction of a stream for one class that takes over; without a share it never sees one. */
export function watchCollapse(share: number | undefined): {
  /** Whether the class that is predicted most has more than the share, after these probabilities [N, classes]. */
  sees(probabilities: Tensor): boolean;
  forget(): void;
} {
  let mean: Float64Array | undefined;
  let seen = 0;
  return {
    sees(probabilities) {
      if (share === undefined) return false;
      const [rows, classes] = probabilities.shape;
      const batch = new Float64Array(classes);
      for (const [i, p] of toFloat64(probabilities).entries()) batch[i % classes] += p / rows;
      const before = mean ?? batch;
      mean = before.map((p, c) => p + newest * (batch[c] - p));
      return ++seen >= patience && Math.max(...mean) > share;
    },
    forget() {
      mean = undefined;
      seen = 0;
    },
  };
}
