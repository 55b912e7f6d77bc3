/**
 * Where magnitudes are cut: entries above `threshold` are kept, and of those equal to it the ones up to flat index
 * `lastIndex`. So exactly k entries are kept, ties broken by the lower index.
 */
export interface MagnitudeCut {
  readonly threshold: number;
  readonly lastIndex: number;
}

/** The cut that keeps the `keep` largest of magnitudes in memory (1 <= keep <= length), all of them finite. */
export function cutLargest(magnitudes: Float64Array, keep: number): MagnitudeCut {
  const threshold = selectNth(magnitudes.slice(), magnitudes.length - keep);
  let left = keep;
  for (const magnitude of magnitudes) if (magnitude > threshold) left--;
  let lastIndex = -1;
  while (left > 0) if (magnitudes[++lastIndex] === threshold) left--;
  return { threshold, lastIndex };
}

/** The value at `index` of the ascending order; reorders `values`. Quickselect with the median of three as pivot. */
export function selectNth(values: Float64Array, index: number): number {
  let low = 0;
  let high = values.length - 1;
  while (high > low) {
    const pivot = medianOfThree(values[low], values[(low + high) >> 1], values[high]);
    let left = low;
    let right = high;
    while (left <= right) {
      while (values[left] < pivot) left++;
      while (values[right] > pivot) right--;
      if (left > right) break;
      [values[left], values[right]] = [values[right], values[left]];
      left++;
      right--;
    }
    if (index <= right) high = right;
    else if (index >= left) low = left;
    else break;
  }
  return values[index];
}

function medianOfThree(a: number, b: number, c: number): number {
  return Math.max(Math.min(a, b), Math.min(Math.max(a, b), c));
}
