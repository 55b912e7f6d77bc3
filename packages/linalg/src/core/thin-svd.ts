import { bidiagonalSvd, bidiagonalSvdRoom } from "./bidiagonal-svd.ts";
import { bidiagonalize, bidiagonalizeRoom } from "./bidiagonalize.ts";
import { type Dense, scaled, transposed } from "./dense.ts";
import { applyReflectors, blockSize } from "./householder.ts";
import { multiply } from "./multiply.ts";
import { thinQr } from "./qr.ts";
import { jacobiSvd, type ThinSvd } from "./small-svd.ts";
import { tridiagonalQl } from "./tridiagonal-ql.ts";
import { unset, withWorkspace } from "./workspace.ts";

/** Up to this size Jacobi rotations, beyond it bidiagonalisation and divide and conquer. */
const jacobiSize = 24;

/** A matrix that much taller than wide is first reduced by QR. */
const tallRatio = 1.6;

/**
 * The SVD of any matrix, signs as they come; values descending, all of them. `vectors`: how many rows of ut and vt are
 * formed, the largest values' first; default all.
 */
export function thinSvd(input: Dense, vectors = Math.min(input.rows, input.columns)): ThinSvd {
  const { matrix, scale } = scaled(input);
  const svd = scaledSvd(matrix, vectors);
  return { ...svd, values: svd.values.map((value) => value * scale) };
}

const none = (): Float64Array => new Float64Array(0);

function scaledSvd(a: Dense, vectors: number): ThinSvd {
  if (a.rows < a.columns) {
    const { values, ut, vt } = scaledSvd(transposed(a), vectors);
    return { values, ut: vt, vt: ut };
  }
  const { rows: m, columns: n } = a;
  if (n <= jacobiSize ? m > n : m >= tallRatio * n) {
    const { qt, r } = thinQr(a, vectors > 0 ? "thin" : "none");
    const { values, ut, vt } = scaledSvd({ rows: n, columns: n, values: r }, vectors);
    if (vectors === 0) return { values, ut, vt };
    const product = multiply({ rows: vectors, columns: n, values: ut }, { rows: n, columns: m, values: qt });
    return { values, ut: product.values, vt };
  }
  if (n <= jacobiSize) {
    const { values, ut, vt } = jacobiSvd(a);
    return { values, ut: ut.subarray(0, vectors * n), vt: vt.subarray(0, vectors * n) };
  }
  return vectors > 0 ? conquered(a, vectors) : { values: bidiagonalValues(a), ut: none(), vt: none() };
}

/**
 * Singular values alone: those of a bidiagonal b are the positive eigenvalues of the tridiagonal matrix of order 2n with
 * zeros on its diagonal and d_1, e_1, d_2, e_2, … beside it (Golub and Kahan 1965), which QL finds without vectors.
 */
function bidiagonalValues({ rows: m, columns: n, values: a }: Dense): Float64Array {
  return withWorkspace("svd", m * n + bidiagonalizeRoom(m, n), (kernels) => {
    const work = unset(kernels, m * n);
    work.set(a);
    const { diagonal, above } = bidiagonalize(kernels, work, m, n);
    const d = new Float64Array(2 * n);
    const e = new Float64Array(2 * n - 1);
    for (let i = 0; i < n; i++) {
      e[2 * i] = diagonal[i];
      if (i + 1 < n) e[2 * i + 1] = above[i];
    }
    tridiagonalQl(d, e, undefined);
    return d
      .sort()
      .reverse()
      .slice(0, n)
      .map((value) => Math.max(0, value));
  });
}

function conquered({ rows: m, columns: n, values: a }: Dense, count: number): ThinSvd {
  const conquer = bidiagonalSvdRoom(n) + 2 * n * m + 4 * blockSize * (m + n);
  return withWorkspace("svd", Math.max(m * n + bidiagonalizeRoom(m, n), conquer), (kernels) => {
    const base = kernels.mark();
    const work = unset(kernels, m * n);
    work.set(a);
    const reduced = bidiagonalize(kernels, work, m, n);
    // the reflectors wait outside until the vectors of the bidiagonal matrix are there
    const left = reduced.left.slice();
    const right = reduced.right.slice();
    kernels.release(base);
    const { values, u, v } = bidiagonalSvd(kernels, reduced.diagonal, reduced.above);
    const vectors = unset(kernels, n * m);
    vectors.set(left);
    const ut = unset(kernels, count * m).fill(0);
    // ascending to descending
    for (let i = 0; i < count; i++) ut.set(u.subarray((n - 1 - i) * n, (n - i) * n), i * m);
    applyReflectors(kernels, ut, vectors, reduced.leftTaus, { rows: count, length: m, count: n, offset: 0 });
    const outU = ut.slice();
    vectors.set(right);
    const vt = ut.subarray(0, count * n);
    for (let i = 0; i < count; i++) vt.set(v.subarray((n - 1 - i) * n, (n - i) * n), i * n);
    applyReflectors(kernels, vt, vectors, reduced.rightTaus, { rows: count, length: n, count: n - 1, offset: 1 });
    return { values: values.slice().reverse(), ut: outU, vt: vt.slice() };
  });
}
