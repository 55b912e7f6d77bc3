const epsilon = 2 ** -52;

/**
 * Roots of the secular equation 1 + sum over i of squares[i] / (pole_i - x) = 0 for ascending poles: root j lies between
 * poles j and j + 1, the last one above the last pole. Poles are known by their differences only, which the caller
 * gives to full relative accuracy: `differences(o, out)` writes pole_i - pole_o. Returns for each root row j of
 * `gaps`: pole_i - root_j, to nearly full relative accuracy; and of which pole (`origins`) it is how far off (`shifts`).
 * Sources: Bunch, Nielsen, Sorensen 1978 (rational interpolation of both halves of the sum), Li 1993 (stopping).
 */
export function secularRoots(
  count: number,
  squares: Float64Array,
  differences: (origin: number, out: Float64Array) => void,
  gaps: Float64Array,
): { origins: Int32Array; shifts: Float64Array } {
  const origins = new Int32Array(count);
  const shifts = new Float64Array(count);
  const delta = new Float64Array(count);
  let total = 0;
  for (let i = 0; i < count; i++) total += squares[i];
  for (let j = 0; j < count; j++) {
    const last = j === count - 1;
    differences(j, delta);
    const width = last ? total : delta[j + 1];
    let origin = j;
    let [low, high] = [0, width];
    if (!last) {
      // the half of the interval that holds the root says which pole to measure from
      const middle = 0.5 * width;
      let value = 1;
      for (let i = 0; i < count; i++) value += squares[i] / (delta[i] - middle);
      if (value >= 0) high = middle;
      else {
        origin = j + 1;
        differences(origin, delta);
        [low, high] = [-middle, 0];
      }
    }
    const shift = solve(count, j, squares, delta, low, high);
    origins[j] = origin;
    shifts[j] = shift;
    const row = j * count;
    for (let i = 0; i < count; i++) gaps[row + i] = delta[i] - shift;
  }
  return { origins, shifts };
}

/** The root x in low .. high of 1 + sum squares[i] / (delta[i] - x), which increases there. */
function solve(
  count: number,
  j: number,
  squares: Float64Array,
  delta: Float64Array,
  lowest: number,
  highest: number,
): number {
  let [low, high] = [lowest, highest];
  const last = j === count - 1;
  let x = last ? high : 0.5 * (low + high);
  let before = Number.POSITIVE_INFINITY;
  for (let step = 0; step < 200; step++) {
    let psi = 0;
    let psiSlope = 0;
    for (let i = 0; i <= j; i++) {
      const term = 1 / (delta[i] - x);
      const part = squares[i] * term;
      psi += part;
      psiSlope += part * term;
    }
    let phi = 0;
    let phiSlope = 0;
    for (let i = j + 1; i < count; i++) {
      const term = 1 / (delta[i] - x);
      const part = squares[i] * term;
      phi += part;
      phiSlope += part * term;
    }
    const value = 1 + psi + phi;
    const noise = epsilon * (1 + 4 * (Math.abs(psi) + Math.abs(phi)) + Math.abs(x) * (psiSlope + phiSlope));
    if (Math.abs(value) <= noise) return x;
    if (value < 0) low = x;
    else high = x;
    if (high - low <= epsilon * Math.max(Math.abs(low), Math.abs(high))) return x;
    const near = delta[j] - x; // < 0
    let next: number;
    if (last) {
      const c = 1 + psi - psiSlope * near;
      next = x + near + (psiSlope * near * near) / c;
    } else {
      const far = delta[j + 1] - x; // > 0
      const s = psiSlope * near * near;
      const t = phiSlope * far * far;
      const c = 1 + (psi - psiSlope * near) + (phi - phiSlope * far);
      const a = c * (near + far) + s + t;
      const b = near * far * value;
      const root = Math.sqrt(Math.max(0, a * a - 4 * b * c));
      next = x + (a <= 0 ? (a - root) / (2 * c) : (2 * b) / (a + root));
    }
    const slow = Math.abs(value) > 0.5 * before;
    before = Math.abs(value);
    if (!(next > low && next < high) || (slow && step > 4)) next = between(low, high);
    if (next === x) return x;
    x = next;
  }
  return x;
}

/** A point between two of one sign, in the middle of their exponents where they differ much. */
function between(low: number, high: number): number {
  const [small, large] = [Math.min(Math.abs(low), Math.abs(high)), Math.max(Math.abs(low), Math.abs(high))];
  const sign = low < 0 ? -1 : 1;
  if (small === 0) return sign * large * 2 ** -10;
  return large > 4 * small ? sign * Math.sqrt(small) * Math.sqrt(large) : 0.5 * (low + high);
}

/**
 * |z_i| for which the computed roots are exact (Gu and Eisenstat 1994): z_i^2 = prod (root_j - pole_i) / prod (pole_j -
 * pole_i), up to a common factor, signs of `z`. Vectors formed with them are orthogonal to working precision.
 */
export function consistentWeights(
  count: number,
  z: Float64Array,
  gaps: Float64Array,
  differences: (origin: number, out: Float64Array) => void,
): Float64Array {
  const out = new Float64Array(count);
  const delta = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    differences(i, delta); // pole_j - pole_i
    let product = -gaps[(count - 1) * count + i];
    for (let j = 0; j < i; j++) product *= -gaps[j * count + i] / delta[j];
    for (let j = i; j < count - 1; j++) product *= -gaps[j * count + i] / delta[j + 1];
    const magnitude = Math.sqrt(Math.abs(product));
    out[i] = z[i] < 0 ? -magnitude : magnitude;
  }
  return out;
}
