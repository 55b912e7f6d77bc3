const epsilon = 2 ** -52;
const mostSweeps = 60;

/** Rows whose norm is below this are 0: the values are scaled, so that it is far below their rounding. */
const negligible = 1e-140;

/**
 * One-sided Jacobi (Hestenes): rotates the rows of g [n, length] until they are orthogonal, in place, and returns the
 * rotations J [n, n] with J g_before = g_after. Small singular values come out to high relative accuracy.
 */
export function orthogonalizeRows(g: Float64Array, n: number, length: number): Float64Array {
  const j = new Float64Array(n * n);
  for (let i = 0; i < n; i++) j[i * n + i] = 1;
  const limit = epsilon * Math.sqrt(length);
  for (let sweep = 0; sweep < mostSweeps; sweep++) {
    let rotated = false;
    for (let p = 0; p < n - 1; p++) {
      for (let q = p + 1; q < n; q++) {
        const [a, b] = [p * length, q * length];
        let pp = 0;
        let qq = 0;
        let pq = 0;
        for (let i = 0; i < length; i++) {
          const x = g[a + i];
          const y = g[b + i];
          pp += x * x;
          qq += y * y;
          pq += x * y;
        }
        const norms = Math.sqrt(pp) * Math.sqrt(qq);
        if (pp < negligible ** 2 || qq < negligible ** 2 || Math.abs(pq) <= limit * norms) continue;
        rotated = true;
        const zeta = (qq - pp) / (2 * pq);
        const t = (zeta >= 0 ? 1 : -1) / (Math.abs(zeta) + Math.sqrt(1 + zeta * zeta));
        const c = 1 / Math.sqrt(1 + t * t);
        rotate(g, a, b, length, c, c * t);
        rotate(j, p * n, q * n, n, c, c * t);
      }
    }
    if (!rotated) break;
  }
  return j;
}

/** x, y <- c x - s y, s x + c y for two rows of `values`. */
export function rotate(values: Float64Array, x: number, y: number, length: number, c: number, s: number): void {
  for (let i = 0; i < length; i++) {
    const a = values[x + i];
    const b = values[y + i];
    values[x + i] = c * a - s * b;
    values[y + i] = s * a + c * b;
  }
}

/** Lengths of the rows, which become unit vectors; rows that are 0 become unit vectors orthogonal to all others. */
export function normalizeRows(g: Float64Array, n: number, length: number): Float64Array {
  const norms = new Float64Array(n);
  for (let i = 0; i < n; i++) {
    let sum = 0;
    for (let k = 0; k < length; k++) sum += g[i * length + k] ** 2;
    const norm = Math.sqrt(sum);
    if (norm <= negligible) continue;
    norms[i] = norm;
    for (let k = 0; k < length; k++) g[i * length + k] /= norm;
  }
  const known = [...norms.keys()].filter((i) => norms[i] > 0);
  for (let i = 0; i < n; i++) {
    if (norms[i] > 0) continue;
    completeRow(g, i, known, length);
    known.push(i);
  }
  return norms;
}

/** Row i becomes the unit vector that is least covered by the rows `known`, made orthogonal to them twice. */
function completeRow(g: Float64Array, i: number, known: readonly number[], length: number): void {
  let [best, least] = [0, Number.POSITIVE_INFINITY];
  for (let k = 0; k < length; k++) {
    let covered = 0;
    for (const row of known) covered += g[row * length + k] ** 2;
    if (covered < least) [best, least] = [k, covered];
  }
  const out = g.subarray(i * length, (i + 1) * length).fill(0);
  out[best] = 1;
  for (let pass = 0; pass < 2; pass++) {
    for (const row of known) {
      const other = g.subarray(row * length, (row + 1) * length);
      let along = 0;
      for (let k = 0; k < length; k++) along += other[k] * out[k];
      for (let k = 0; k < length; k++) out[k] -= along * other[k];
    }
    let sum = 0;
    for (let k = 0; k < length; k++) sum += out[k] ** 2;
    const norm = Math.sqrt(sum);
    for (let k = 0; k < length; k++) out[k] /= norm;
  }
}
