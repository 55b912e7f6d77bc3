/**
 * The float32 sum of values [from, to) in numpy's order: eight running sums that are added in pairs, halves of anything
 * longer than 128. Its rounding decides which of two scales fits better, so results are equal only if it is.
 */
export function pairwiseSum(values: Float32Array, from = 0, to = values.length): number {
  const count = to - from;
  if (count < 8) {
    let sum = 0;
    for (let i = from; i < to; i++) sum = Math.fround(sum + values[i]);
    return sum;
  }
  if (count > 128) {
    const half = (count >> 1) - ((count >> 1) % 8);
    return Math.fround(pairwiseSum(values, from, from + half) + pairwiseSum(values, from + half, to));
  }
  const sums = new Float32Array(8);
  for (let lane = 0; lane < 8; lane++) sums[lane] = values[from + lane];
  const whole = count - (count % 8);
  for (let i = 8; i < whole; i += 8) for (let lane = 0; lane < 8; lane++) sums[lane] += values[from + i + lane];
  const [a, b] = [Math.fround(sums[0] + sums[1]), Math.fround(sums[2] + sums[3])];
  const [c, d] = [Math.fround(sums[4] + sums[5]), Math.fround(sums[6] + sums[7])];
  let sum = Math.fround(Math.fround(a + b) + Math.fround(c + d));
  for (let i = from + whole; i < to; i++) sum = Math.fround(sum + values[i]);
  return sum;
}
