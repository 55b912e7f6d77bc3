/**
 * The sign that makes a vector canonical: its entry of largest magnitude becomes positive; among entries equal to within
 * rounding, the first. values[start + i * step], i < length.
 */
export function canonicalSign(values: Float64Array, start: number, length: number): number {
  let largest = 0;
  for (let i = 0; i < length; i++) largest = Math.max(largest, Math.abs(values[start + i]));
  const limit = largest * (1 - 1e-8); // entries that differ by rounding only do not decide
  for (let i = 0; i < length; i++) {
    if (Math.abs(values[start + i]) >= limit) return values[start + i] < 0 ? -1 : 1;
  }
  return 1;
}

/** Makes each row of `rows` [count, length] canonical, turning the same rows of `others` along. In place. */
export function canonicalRowsInto(rows: Float64Array, length: number, others?: Float64Array): void {
  const count = rows.length / length;
  const width = others === undefined ? 0 : others.length / count;
  for (let i = 0; i < count; i++) {
    if (canonicalSign(rows, i * length, length) > 0) continue;
    for (let j = i * length; j < (i + 1) * length; j++) rows[j] = -rows[j];
    if (others === undefined) continue;
    for (let j = i * width; j < (i + 1) * width; j++) others[j] = -others[j];
  }
}
