// out [m, n] += alpha * a [m, k] x b [k, n], row-major float64. Blocks of 256 of k; within a block every element is one
// sum in ascending order of k from 0, then out += alpha * sum. src/plain/gemm.ts does the same, so results are equal.

import { PANEL_A, PANEL_B } from "./layout";

const BLOCK_M: i32 = 64;
const BLOCK_N: i32 = 128;
const BLOCK_K: i32 = 256;

/** Four rows side by side: panel[p * 4 + r] = a[r, p]; rows that are missing are 0. */
function packA(a: usize, stride: usize, rows: i32, depth: i32): void {
  for (let i = 0; i < rows; i += 4) {
    const target = PANEL_A + (((<usize>i) * (<usize>depth)) << 3);
    for (let r = 0; r < 4; r++) {
      let at = target + ((<usize>r) << 3);
      if (i + r < rows) {
        let from = a + (<usize>(i + r)) * stride;
        for (let p = 0; p < depth; p++) {
          store<f64>(at, load<f64>(from));
          at += 32;
          from += 8;
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
function packB(b: usize, stride: usize, depth: i32, columns: i32): void {
  const whole = columns & ~3;
  const panel = (<usize>depth) << 5;
  for (let p = 0; p < depth; p++) {
    let at = PANEL_B + ((<usize>p) << 5);
    let from = b + (<usize>p) * stride;
    for (let j = 0; j < whole; j += 4) {
      v128.store(at, v128.load(from));
      v128.store(at, v128.load(from, 16), 16);
      at += panel;
      from += 32;
    }
    if (whole < columns) {
      for (let j = 0; j < 4; j++) {
        store<f64>(at + ((<usize>j) << 3), whole + j < columns ? load<f64>(from + ((<usize>j) << 3)) : 0);
      }
    }
  }
}

// @ts-ignore: decorator
@inline
function addRow(out: usize, x0: v128, x1: v128, alpha: v128, columns: i32): void {
  const y0 = f64x2.mul(alpha, x0);
  const y1 = f64x2.mul(alpha, x1);
  if (columns >= 4) {
    v128.store(out, f64x2.add(v128.load(out), y0));
    v128.store(out, f64x2.add(v128.load(out, 16), y1), 16);
    return;
  }
  store<f64>(out, load<f64>(out) + f64x2.extract_lane(y0, 0));
  if (columns > 1) store<f64>(out + 8, load<f64>(out + 8) + f64x2.extract_lane(y0, 1));
  if (columns > 2) store<f64>(out + 16, load<f64>(out + 16) + f64x2.extract_lane(y1, 0));
}

/** A 4 x 4 block of the result in eight registers. */
export function micro(out: usize, stride: usize, a: usize, b: usize, depth: i32, alpha: f64, rows: i32, columns: i32): void {
  let r00 = f64x2.splat(0);
  let r01 = f64x2.splat(0);
  let r10 = f64x2.splat(0);
  let r11 = f64x2.splat(0);
  let r20 = f64x2.splat(0);
  let r21 = f64x2.splat(0);
  let r30 = f64x2.splat(0);
  let r31 = f64x2.splat(0);
  for (let p = 0; p < depth; p++) {
    const b0 = v128.load(b);
    const b1 = v128.load(b, 16);
    const a0 = v128.load64_splat(a);
    r00 = f64x2.add(r00, f64x2.mul(a0, b0));
    r01 = f64x2.add(r01, f64x2.mul(a0, b1));
    const a1 = v128.load64_splat(a, 8);
    r10 = f64x2.add(r10, f64x2.mul(a1, b0));
    r11 = f64x2.add(r11, f64x2.mul(a1, b1));
    const a2 = v128.load64_splat(a, 16);
    r20 = f64x2.add(r20, f64x2.mul(a2, b0));
    r21 = f64x2.add(r21, f64x2.mul(a2, b1));
    const a3 = v128.load64_splat(a, 24);
    r30 = f64x2.add(r30, f64x2.mul(a3, b0));
    r31 = f64x2.add(r31, f64x2.mul(a3, b1));
    a += 32;
    b += 32;
  }
  const scale = f64x2.splat(alpha);
  addRow(out, r00, r01, scale, columns);
  if (rows > 1) addRow(out + stride, r10, r11, scale, columns);
  if (rows > 2) addRow(out + 2 * stride, r20, r21, scale, columns);
  if (rows > 3) addRow(out + 3 * stride, r30, r31, scale, columns);
}

export function gemm(out: usize, a: usize, b: usize, m: i32, n: i32, k: i32, alpha: f64): void {
  const strideA = (<usize>k) << 3;
  const strideB = (<usize>n) << 3;
  for (let p = 0; p < k; p += BLOCK_K) {
    const depth = min(BLOCK_K, k - p);
    const panel = (<usize>depth) << 5;
    for (let j = 0; j < n; j += BLOCK_N) {
      const columns = min(BLOCK_N, n - j);
      packB(b + (<usize>p) * strideB + ((<usize>j) << 3), strideB, depth, columns);
      for (let i = 0; i < m; i += BLOCK_M) {
        const rows = min(BLOCK_M, m - i);
        packA(a + (<usize>i) * strideA + ((<usize>p) << 3), strideA, rows, depth);
        for (let jj = 0; jj < columns; jj += 4) {
          const panelB = PANEL_B + (<usize>(jj >> 2)) * panel;
          for (let ii = 0; ii < rows; ii += 4) {
            micro(
              out + (<usize>(i + ii)) * strideB + ((<usize>(j + jj)) << 3),
              strideB,
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
