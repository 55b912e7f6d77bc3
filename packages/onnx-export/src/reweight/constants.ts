/**
 * Why a float constant that no tensor of a checkpoint gives may stay: it is a table that follows from the
 * configuration. undefined: nothing says so.
 */
export function constantReason(values: Float32Array, shape: readonly number[]): string | undefined {
  const distinct = new Set<number>();
  for (const value of values) {
    distinct.add(value);
    if (distinct.size > 2) break;
  }
  if (distinct.size === 1) return "one value throughout";
  if (distinct.size === 2 && [...distinct].some((each) => each === 0 || each === 1 || Math.abs(each) >= 1e4))
    return "a mask";
  const vector = shape.filter((size) => size !== 1).length <= 1;
  if (vector && isProgression(values)) return "an even progression";
  if (vector && isFrequencies(values)) return "frequencies of rotary positions";
  if (!vector && isWaveTable(values, shape.at(-1) as number)) return "a table of cosines or sines";
  return undefined;
}

function isProgression(values: Float32Array): boolean {
  const step = values[1] - values[0];
  return values.every((value, at) => Math.abs(value - values[0] - at * step) <= 1e-6 * Math.abs(step) * values.length);
}

/** Positive and falling from 1, as 1 / base^(2i/d) and its scaled kinds are. */
function isFrequencies(values: Float32Array): boolean {
  if (values.length < 2 || Math.abs(values[0]) > 1 || values[0] < 0.01) return false;
  return values.every((value, at) => value > 0 && (at === 0 || value < values[at - 1]));
}

/**
 * Rows f(p·θ) for p = 0, 1, …: each column of cosines or sines obeys x[p + 1] + x[p − 1] = 2 cos θ · x[p], and begins
 * with the same largest value (cosines) or 0 (sines). Tables of float16 are as exact as they can be.
 */
function isWaveTable(values: Float32Array, width: number): boolean {
  const rows = values.length / width;
  if (rows < 4) return false;
  const sine = values.subarray(0, width).every((value) => value === 0);
  const peak = Math.max(...values.subarray(0, width).map(Math.abs));
  if (!sine && values.subarray(0, width).some((value) => Math.abs(value - peak) > 1e-3 * peak)) return false;
  for (let column = 0; column < width; column++) {
    const at = (row: number) => values[row * width + column];
    const start = sine ? 1 : 0;
    const cosine = sine ? (at(1) === 0 ? 1 : at(2) / (2 * at(1))) : at(1) / at(start);
    if (Math.abs(cosine) > 1.001) return false;
    const largest = Math.max(peak, 1);
    for (let row = 1; row < Math.min(rows - 1, 64); row++) {
      const expected = 2 * cosine * at(row);
      if (Math.abs(at(row + 1) + at(row - 1) - expected) > 5e-3 * largest) return false;
    }
  }
  return true;
}
