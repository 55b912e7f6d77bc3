// Products over matrices that are parts of larger ones: what blocked factorisations are made of. Strides are in
// elements. src/plain/strided.ts does the same in the same order, so results are equal.

import { micro } from "./gemm";
import { PANEL_A, PANEL_B } from "./layout";

const BLOCK_M: i32 = 64;
const BLOCK_N: i32 = 128;
const BLOCK_K: i32 = 256;

/** Four rows side by side: panel[p * 4 + r] = a[r, p]; rows that are missing are 0. */
function packRows(a: usize, rowStep: usize, columnStep: usize, rows: i32, depth: i32): void {
  for (let i = 0; i < rows; i += 4) {
    const target = PANEL_A + (((<usize>i) * (<usize>depth)) << 3);
    const left = min(4, rows - i);
    const start = a + (<usize>i) * rowStep;
    if (left == 4 && rowStep == 8) {
      let at = target;
      let from = start;
      for (let p = 0; p < depth; p++) {
        v128.store(at, v128.load(from));
        v128.store(at, v128.load(from, 16), 16);
        at += 32;
        from += columnStep;
      }
      continue;
    }
    for (let r = 0; r < 4; r++) {
      let at = target + ((<usize>r) << 3);
      if (r < left) {
        let from = start + (<usize>r) * rowStep;
        for (let p = 0; p < depth; p++) {
          store<f64>(at, load<f64>(from));
          at += 32;
          from += columnStep;
        }
      } else {
        for (let p = 0; p < depth; p++) {
          store<f64>(at, 0);
          at += 32;
        }
      }
    }
  }
}

/** Four columns side by side: panel[p * 4 + c] = b[p, c]; columns that are missing are 0. */
function packColumns(b: usize, rowStep: usize, columnStep: usize, depth: i32, columns: i32): void {
  const panel = (<usize>depth) << 5;
  let target = PANEL_B;
  for (let j = 0; j < columns; j += 4) {
    const left = min(4, columns - j);
    const start = b + (<usize>j) * columnStep;
    if (left == 4 && columnStep == 8) {
      let at = target;
      let from = start;
      for (let p = 0; p < depth; p++) {
        v128.store(at, v128.load(from));
        v128.store(at, v128.load(from, 16), 16);
        at += 32;
        from += rowStep;
      }
    } else {
      for (let c = 0; c < 4; c++) {
        let at = target + ((<usize>c) << 3);
        if (c < left) {
          let from = start + (<usize>c) * columnStep;
          for (let p = 0; p < depth; p++) {
            store<f64>(at, load<f64>(from));
            at += 32;
            from += rowStep;
          }
        } else {
          for (let p = 0; p < depth; p++) {
            store<f64>(at, 0);
            at += 32;
          }
        }
      }
    }
    target += panel;
  }
}

export function gemmStrided(
  out: usize,
  outStride: i32,
  a: usize,
  aRow: i32,
  aColumn: i32,
  b: usize,
  bRow: i32,
  bColumn: i32,
  m: i32,
  n: i32,
  k: i32,
  alpha: f64,
): void {
  const stepOut = (<usize>outStride) << 3;
  const stepAr = (<usize>aRow) << 3;
  const stepAc = (<usize>aColumn) << 3;
  const stepBr = (<usize>bRow) << 3;
  const stepBc = (<usize>bColumn) << 3;
  for (let p = 0; p < k; p += BLOCK_K) {
    const depth = min(BLOCK_K, k - p);
    const panel = (<usize>depth) << 5;
    for (let j = 0; j < n; j += BLOCK_N) {
      const columns = min(BLOCK_N, n - j);
      packColumns(b + (<usize>p) * stepBr + (<usize>j) * stepBc, stepBr, stepBc, depth, columns);
      for (let i = 0; i < m; i += BLOCK_M) {
        const rows = min(BLOCK_M, m - i);
        packRows(a + (<usize>i) * stepAr + (<usize>p) * stepAc, stepAr, stepAc, rows, depth);
        for (let jj = 0; jj < columns; jj += 4) {
          const panelB = PANEL_B + (<usize>(jj >> 2)) * panel;
          for (let ii = 0; ii < rows; ii += 4) {
            micro(
              out + (<usize>(i + ii)) * stepOut + ((<usize>(j + jj)) << 3),
              stepOut,
              PANEL_A + (<usize>(ii >> 2)) * panel,
              panelB,
              depth,
              alpha,
              rows - ii,
              columns - jj,
            );
          }
        }
      }
    }
  }
}

/** Four lanes (element i in lane i mod 4), added as (0+2) + (1+3). */
// @ts-ignore: decorator
@inline
function lanes(s0: v128, s1: v128): f64 {
  const s = f64x2.add(s0, s1);
  return f64x2.extract_lane(s, 0) + f64x2.extract_lane(s, 1);
}

/** Sum over i < n of a[i] x[i]: four lanes, then the rest one by one. */
// @ts-ignore: decorator
@inline
function rowDot(a: usize, x: usize, n: i32): f64 {
  const whole = n & ~3;
  let s0 = f64x2.splat(0);
  let s1 = f64x2.splat(0);
  for (let j = 0; j < whole; j += 4) {
    s0 = f64x2.add(s0, f64x2.mul(v128.load(a), v128.load(x)));
    s1 = f64x2.add(s1, f64x2.mul(v128.load(a, 16), v128.load(x, 16)));
    a += 32;
    x += 32;
  }
  let total = lanes(s0, s1);
  for (let j = whole; j < n; j++) {
    total += load<f64>(a) * load<f64>(x);
    a += 8;
    x += 8;
  }
  return total;
}

/** y[i] += alpha * (row i of a) . x */
export function gemv(y: usize, a: usize, stride: i32, x: usize, m: i32, n: i32, alpha: f64): void {
  const step = (<usize>stride) << 3;
  const whole = n & ~3;
  let i = 0;
  for (; i + 4 <= m; i += 4) {
    let a0 = a;
    let a1 = a + step;
    let a2 = a1 + step;
    let a3 = a2 + step;
    let at = x;
    let s00 = f64x2.splat(0);
    let s01 = f64x2.splat(0);
    let s10 = f64x2.splat(0);
    let s11 = f64x2.splat(0);
    let s20 = f64x2.splat(0);
    let s21 = f64x2.splat(0);
    let s30 = f64x2.splat(0);
    let s31 = f64x2.splat(0);
    for (let j = 0; j < whole; j += 4) {
      const x0 = v128.load(at);
      const x1 = v128.load(at, 16);
      s00 = f64x2.add(s00, f64x2.mul(v128.load(a0), x0));
      s01 = f64x2.add(s01, f64x2.mul(v128.load(a0, 16), x1));
      s10 = f64x2.add(s10, f64x2.mul(v128.load(a1), x0));
      s11 = f64x2.add(s11, f64x2.mul(v128.load(a1, 16), x1));
      s20 = f64x2.add(s20, f64x2.mul(v128.load(a2), x0));
      s21 = f64x2.add(s21, f64x2.mul(v128.load(a2, 16), x1));
      s30 = f64x2.add(s30, f64x2.mul(v128.load(a3), x0));
      s31 = f64x2.add(s31, f64x2.mul(v128.load(a3, 16), x1));
      a0 += 32;
      a1 += 32;
      a2 += 32;
      a3 += 32;
      at += 32;
    }
    let t0 = lanes(s00, s01);
    let t1 = lanes(s10, s11);
    let t2 = lanes(s20, s21);
    let t3 = lanes(s30, s31);
    for (let j = whole; j < n; j++) {
      const value = load<f64>(at);
      t0 += load<f64>(a0) * value;
      t1 += load<f64>(a1) * value;
      t2 += load<f64>(a2) * value;
      t3 += load<f64>(a3) * value;
      a0 += 8;
      a1 += 8;
      a2 += 8;
      a3 += 8;
      at += 8;
    }
    store<f64>(y, load<f64>(y) + alpha * t0);
    store<f64>(y, load<f64>(y, 8) + alpha * t1, 8);
    store<f64>(y, load<f64>(y, 16) + alpha * t2, 16);
    store<f64>(y, load<f64>(y, 24) + alpha * t3, 24);
    y += 32;
    a += 4 * step;
  }
  for (; i < m; i++) {
    store<f64>(y, load<f64>(y) + alpha * rowDot(a, x, n));
    y += 8;
    a += step;
  }
}

/** y[j] += (alpha x[i]) a[i, j], i ascending */
export function gemvTransposed(y: usize, a: usize, stride: i32, x: usize, m: i32, n: i32, alpha: f64): void {
  const step = (<usize>stride) << 3;
  const pairs = n & ~1;
  let i = 0;
  for (; i + 4 <= m; i += 4) {
    const c0 = alpha * load<f64>(x);
    const c1 = alpha * load<f64>(x, 8);
    const c2 = alpha * load<f64>(x, 16);
    const c3 = alpha * load<f64>(x, 24);
    const v0 = f64x2.splat(c0);
    const v1 = f64x2.splat(c1);
    const v2 = f64x2.splat(c2);
    const v3 = f64x2.splat(c3);
    let a0 = a;
    let a1 = a + step;
    let a2 = a1 + step;
    let a3 = a2 + step;
    let at = y;
    for (let j = 0; j < pairs; j += 2) {
      let value = f64x2.add(v128.load(at), f64x2.mul(v0, v128.load(a0)));
      value = f64x2.add(value, f64x2.mul(v1, v128.load(a1)));
      value = f64x2.add(value, f64x2.mul(v2, v128.load(a2)));
      v128.store(at, f64x2.add(value, f64x2.mul(v3, v128.load(a3))));
      a0 += 16;
      a1 += 16;
      a2 += 16;
      a3 += 16;
      at += 16;
    }
    if (pairs < n) {
      let value = load<f64>(at) + c0 * load<f64>(a0);
      value += c1 * load<f64>(a1);
      value += c2 * load<f64>(a2);
      store<f64>(at, value + c3 * load<f64>(a3));
    }
    x += 32;
    a += 4 * step;
  }
  for (; i < m; i++) {
    const c = alpha * load<f64>(x);
    addRowScaled(y, a, n, c);
    x += 8;
    a += step;
  }
}

// @ts-ignore: decorator
@inline
function addRowScaled(y: usize, a: usize, n: i32, c: f64): void {
  const v = f64x2.splat(c);
  const pairs = n & ~1;
  for (let j = 0; j < pairs; j += 2) {
    v128.store(y, f64x2.add(v128.load(y), f64x2.mul(v, v128.load(a))));
    y += 16;
    a += 16;
  }
  if (pairs < n) store<f64>(y, load<f64>(y) + c * load<f64>(a));
}

/**
 * y += alpha * A x for symmetric A, of which the lower triangle is read, once. Rows in groups of four from i0: the
 * columns before i0 in four lanes, the rest of the row one by one.
 */
export function symv(y: usize, a: usize, stride: i32, x: usize, n: i32, alpha: f64): void {
  const step = (<usize>stride) << 3;
  for (let i0 = 0; i0 < n; i0 += 4) {
    const rows = min(4, n - i0);
    const own = a + (<usize>i0) * step;
    let t0: f64 = 0;
    let t1: f64 = 0;
    let t2: f64 = 0;
    let t3: f64 = 0;
    const xs = x + ((<usize>i0) << 3);
    if (rows == 4) {
      const v0 = f64x2.splat(alpha * load<f64>(xs));
      const v1 = f64x2.splat(alpha * load<f64>(xs, 8));
      const v2 = f64x2.splat(alpha * load<f64>(xs, 16));
      const v3 = f64x2.splat(alpha * load<f64>(xs, 24));
      let a0 = own;
      let a1 = own + step;
      let a2 = a1 + step;
      let a3 = a2 + step;
      let s00 = f64x2.splat(0);
      let s01 = f64x2.splat(0);
      let s10 = f64x2.splat(0);
      let s11 = f64x2.splat(0);
      let s20 = f64x2.splat(0);
      let s21 = f64x2.splat(0);
      let s30 = f64x2.splat(0);
      let s31 = f64x2.splat(0);
      let at = x;
      let to = y;
      for (let j = 0; j < i0; j += 4) {
        const x0 = v128.load(at);
        const x1 = v128.load(at, 16);
        let y0 = v128.load(to);
        let y1 = v128.load(to, 16);
        let e0 = v128.load(a0);
        let e1 = v128.load(a0, 16);
        s00 = f64x2.add(s00, f64x2.mul(e0, x0));
        s01 = f64x2.add(s01, f64x2.mul(e1, x1));
        y0 = f64x2.add(y0, f64x2.mul(v0, e0));
        y1 = f64x2.add(y1, f64x2.mul(v0, e1));
        e0 = v128.load(a1);
        e1 = v128.load(a1, 16);
        s10 = f64x2.add(s10, f64x2.mul(e0, x0));
        s11 = f64x2.add(s11, f64x2.mul(e1, x1));
        y0 = f64x2.add(y0, f64x2.mul(v1, e0));
        y1 = f64x2.add(y1, f64x2.mul(v1, e1));
        e0 = v128.load(a2);
        e1 = v128.load(a2, 16);
        s20 = f64x2.add(s20, f64x2.mul(e0, x0));
        s21 = f64x2.add(s21, f64x2.mul(e1, x1));
        y0 = f64x2.add(y0, f64x2.mul(v2, e0));
        y1 = f64x2.add(y1, f64x2.mul(v2, e1));
        e0 = v128.load(a3);
        e1 = v128.load(a3, 16);
        s30 = f64x2.add(s30, f64x2.mul(e0, x0));
        s31 = f64x2.add(s31, f64x2.mul(e1, x1));
        y0 = f64x2.add(y0, f64x2.mul(v3, e0));
        y1 = f64x2.add(y1, f64x2.mul(v3, e1));
        v128.store(to, y0);
        v128.store(to, y1, 16);
        a0 += 32;
        a1 += 32;
        a2 += 32;
        a3 += 32;
        at += 32;
        to += 32;
      }
      t0 = lanes(s00, s01);
      t1 = lanes(s10, s11);
      t2 = lanes(s20, s21);
      t3 = lanes(s30, s31);
    } else {
      for (let r = 0; r < rows; r++) {
        const row = own + (<usize>r) * step;
        addRowScaled(y, row, i0, alpha * load<f64>(xs + ((<usize>r) << 3)));
        const total = rowDot(row, x, i0);
        if (r == 0) t0 = total;
        else if (r == 1) t1 = total;
        else t2 = total;
      }
    }
    for (let r = 0; r < rows; r++) {
      const row = own + (<usize>r) * step + ((<usize>i0) << 3);
      const value = load<f64>(xs + ((<usize>r) << 3));
      let total = r == 0 ? t0 : r == 1 ? t1 : r == 2 ? t2 : t3;
      for (let c = 0; c < r; c++) {
        const entry = load<f64>(row + ((<usize>c) << 3));
        total += entry * load<f64>(xs + ((<usize>c) << 3));
        const to = y + ((<usize>(i0 + c)) << 3);
        store<f64>(to, load<f64>(to) + alpha * value * entry);
      }
      total += load<f64>(row + ((<usize>r) << 3)) * value;
      const to = y + ((<usize>(i0 + r)) << 3);
      store<f64>(to, load<f64>(to) + alpha * total);
    }
  }
}
