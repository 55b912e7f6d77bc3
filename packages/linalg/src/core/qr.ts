import type { Kernels } from "@loomweight/kernels";
import { type Dense, transposed } from "./dense.ts";
import { applyReflectors, blockSize, reflectInto, triangularFactorInto } from "./householder.ts";
import { unset, withWorkspace } from "./workspace.ts";

/** a = q r with r upper triangular, of which the diagonal is not negative. qt [k, m] = q^T, r [k, n], k = min(m, n). */
export interface ThinQr {
  readonly qt: Float64Array;
  readonly r: Float64Array;
}

/**
 * Householder QR of a matrix scaled to about 1, in blocks of columns. "none": qt stays empty; "complete": qt is [m, m]
 * (r stays as it is).
 */
export function thinQr(a: Dense, want: "none" | "thin" | "complete" = "thin"): ThinQr {
  return qrOfColumns(transposed(a), want);
}

/** The same of a matrix that is given by its columns: a^T, row-major. */
export function qrOfColumns(at: Dense, want: "none" | "thin" | "complete" = "thin"): ThinQr {
  const { rows: n, columns: m } = at;
  const k = Math.min(m, n);
  const rows = want === "complete" ? m : k;
  const room = m * n + k * m + rows * m + 4 * blockSize * (m + n + blockSize);
  return withWorkspace("qr", room, (kernels) => {
    const c = unset(kernels, n * m); // a^T: columns are rows here
    c.set(at.values);
    const vectors = unset(kernels, k * m).fill(0);
    const taus = new Float64Array(k);
    for (let start = 0; start < k; start += blockSize) {
      const width = Math.min(blockSize, k - start);
      panel(kernels, c, vectors, taus, m, start, width);
      updateRest(kernels, c, vectors, taus, m, n, start, width);
    }
    const signs = new Float64Array(k);
    const r = new Float64Array(k * n);
    for (let i = 0; i < k; i++) {
      signs[i] = c[i * m + i] < 0 ? -1 : 1; // a zero keeps its column
      for (let j = i; j < n; j++) r[i * n + j] = signs[i] * c[j * m + i];
    }
    if (want === "none") return { qt: new Float64Array(0), r };
    const qt = unset(kernels, rows * m).fill(0);
    for (let i = 0; i < rows; i++) qt[i * m + i] = 1;
    applyReflectors(kernels, qt, vectors, taus, { rows, length: m, count: k, offset: 0 }, true);
    const out = qt.slice();
    for (let i = 0; i < k; i++) if (signs[i] < 0) for (let j = 0; j < m; j++) out[i * m + j] = -out[i * m + j];
    return { qt: out, r };
  });
}

/** Reflectors of `width` columns (rows of c), applied to those columns one by one. */
function panel(
  kernels: Kernels,
  c: Float64Array,
  vectors: Float64Array,
  taus: Float64Array,
  m: number,
  start: number,
  width: number,
) {
  const mark = kernels.mark();
  const along = unset(kernels, width);
  for (let p = 0; p < width; p++) {
    const i = start + p;
    const v = vectors.subarray(i * m + i, (i + 1) * m);
    v.set(c.subarray(i * m + i, (i + 1) * m));
    const { beta, tau } = reflectInto(v);
    taus[i] = tau;
    c[i * m + i] = beta;
    const rest = width - p - 1;
    if (rest === 0) break;
    const columns = c.subarray((i + 1) * m + i);
    const products = along.subarray(0, rest).fill(0);
    kernels.gemv(products, columns, m, v, rest, m - i, tau);
    kernels.gemmStrided(columns, m, products, [1, 1], v, [1, 1], rest, m - i, 1, -1);
  }
  kernels.release(mark);
}

/** The columns after a block: c <- c (I - V^T T V), as Q_b^T is applied to a. */
function updateRest(
  kernels: Kernels,
  c: Float64Array,
  vectors: Float64Array,
  taus: Float64Array,
  m: number,
  n: number,
  start: number,
  width: number,
) {
  const next = start + width;
  if (next >= n) return;
  const mark = kernels.mark();
  const [rest, reach] = [n - next, m - start];
  const v = vectors.subarray(start * m + start);
  const gram = kernels.allocateValues(width * width);
  const factor = unset(kernels, width * width);
  kernels.gemmStrided(gram, width, v, [m, 1], v, [1, m], width, width, reach, 1);
  triangularFactorInto(factor, gram, taus.subarray(start, next), width);
  const first = kernels.allocateValues(rest * width);
  const second = kernels.allocateValues(rest * width);
  const part = c.subarray(next * m + start);
  kernels.gemmStrided(first, width, part, [m, 1], v, [1, m], rest, width, reach, 1);
  kernels.gemmStrided(second, width, first, [width, 1], factor, [width, 1], rest, width, width, 1);
  kernels.gemmStrided(part, m, second, [width, 1], v, [m, 1], rest, reach, width, -1);
  kernels.release(mark);
}
