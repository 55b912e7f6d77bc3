// float64 arithmetic, element by element: every operation rounds once. `out` may be one of the inputs.

import { LIST_POINTERS, LIST_WEIGHTS } from "./layout";

export function fill(out: usize, n: i32, value: f64): void {
  const values = f64x2.splat(value);
  const pairs = n & ~1;
  for (let i = 0; i < pairs; i += 2) {
    v128.store(out, values);
    out += 16;
  }
  if (pairs < n) store<f64>(out, value);
}

export function addScaled(out: usize, x: usize, n: i32, weight: f64): void {
  const weights = f64x2.splat(weight);
  const blocks = n & ~3;
  for (let i = 0; i < blocks; i += 4) {
    v128.store(out, f64x2.add(v128.load(out), f64x2.mul(weights, v128.load(x))));
    v128.store(out, f64x2.add(v128.load(out, 16), f64x2.mul(weights, v128.load(x, 16))), 16);
    out += 32;
    x += 32;
  }
  for (let i = blocks; i < n; i++) {
    store<f64>(out, load<f64>(out) + weight * load<f64>(x));
    out += 8;
    x += 8;
  }
}

// @ts-ignore: decorator
@inline
function combine(operation: i32, a: v128, b: v128): v128 {
  if (operation == 0) return f64x2.add(a, b);
  if (operation == 1) return f64x2.sub(a, b);
  if (operation == 2) return f64x2.mul(a, b);
  return f64x2.div(a, b);
}

// @ts-ignore: decorator
@inline
function pairwise(operation: i32, out: usize, a: usize, b: usize, n: i32): void {
  const blocks = n & ~3;
  for (let i = 0; i < blocks; i += 4) {
    v128.store(out, combine(operation, v128.load(a), v128.load(b)));
    v128.store(out, combine(operation, v128.load(a, 16), v128.load(b, 16)), 16);
    out += 32;
    a += 32;
    b += 32;
  }
  for (let i = blocks; i < n; i++) {
    const result = combine(operation, v128.load64_splat(a), v128.load64_splat(b));
    store<f64>(out, f64x2.extract_lane(result, 0));
    out += 8;
    a += 8;
    b += 8;
  }
}

export function add(out: usize, a: usize, b: usize, n: i32): void {
  pairwise(0, out, a, b, n);
}
export function subtract(out: usize, a: usize, b: usize, n: i32): void {
  pairwise(1, out, a, b, n);
}
export function multiply(out: usize, a: usize, b: usize, n: i32): void {
  pairwise(2, out, a, b, n);
}
export function divide(out: usize, a: usize, b: usize, n: i32): void {
  pairwise(3, out, a, b, n);
}

export function affine(out: usize, a: usize, n: i32, scale: f64, shift: f64): void {
  const scales = f64x2.splat(scale);
  const shifts = f64x2.splat(shift);
  const pairs = n & ~1;
  for (let i = 0; i < pairs; i += 2) {
    v128.store(out, f64x2.add(f64x2.mul(v128.load(a), scales), shifts));
    out += 16;
    a += 16;
  }
  if (pairs < n) store<f64>(out, load<f64>(a) * scale + shift);
}

export function absolute(out: usize, a: usize, n: i32): void {
  const pairs = n & ~1;
  for (let i = 0; i < pairs; i += 2) {
    v128.store(out, f64x2.abs(v128.load(a)));
    out += 16;
    a += 16;
  }
  if (pairs < n) store<f64>(out, abs(load<f64>(a)));
}

export function squareRoot(out: usize, a: usize, n: i32): void {
  const pairs = n & ~1;
  for (let i = 0; i < pairs; i += 2) {
    v128.store(out, f64x2.sqrt(v128.load(a)));
    out += 16;
    a += 16;
  }
  if (pairs < n) store<f64>(out, sqrt(load<f64>(a)));
}

/** NaN stays NaN: both comparisons fail for it. */
export function clamp(out: usize, a: usize, n: i32, low: f64, high: f64): void {
  const lows = f64x2.splat(low);
  const highs = f64x2.splat(high);
  const pairs = n & ~1;
  for (let i = 0; i < pairs; i += 2) {
    v128.store(out, f64x2.pmin(f64x2.pmax(v128.load(a), lows), highs));
    out += 16;
    a += 16;
  }
  if (pairs < n) {
    store<f64>(out, f64x2.extract_lane(f64x2.pmin(f64x2.pmax(v128.load64_splat(a), lows), highs), 0));
  }
}

export function keepAbove(out: usize, a: usize, n: i32, threshold: f64): void {
  const thresholds = f64x2.splat(threshold);
  const pairs = n & ~1;
  for (let i = 0; i < pairs; i += 2) {
    const x = v128.load(a);
    v128.store(out, v128.and(x, f64x2.ge(f64x2.abs(x), thresholds)));
    out += 16;
    a += 16;
  }
  if (pairs < n) {
    const x = load<f64>(a);
    store<f64>(out, abs(x) >= threshold ? x : 0);
  }
}

// @ts-ignore: decorator
@inline
function listed(j: i32): usize {
  return <usize>load<u32>(LIST_POINTERS + ((<usize>j) << 2));
}

/** All ones where x has the sign of the sum; 0 never has. */
// @ts-ignore: decorator
@inline
function agreement(x: v128, positive: v128, zero: v128): v128 {
  return v128.bitselect(f64x2.gt(x, zero), f64x2.lt(x, zero), positive);
}

/** The pointers and weights of the inputs lie in the list area. */
export function signConsensus(sum: usize, weightSum: usize, inputs: i32, n: i32): void {
  const zero = f64x2.splat(0);
  const blocks = n & ~3;
  for (let i = 0; i < blocks; i += 4) {
    const at = (<usize>i) << 3;
    let total0 = zero;
    let total1 = zero;
    for (let j = 0; j < inputs; j++) {
      const pointer = listed(j) + at;
      total0 = f64x2.add(total0, v128.load(pointer));
      total1 = f64x2.add(total1, v128.load(pointer, 16));
    }
    const positive0 = f64x2.ge(total0, zero);
    const positive1 = f64x2.ge(total1, zero);
    let agreed0 = zero;
    let agreed1 = zero;
    let weights0 = zero;
    let weights1 = zero;
    for (let j = 0; j < inputs; j++) {
      const pointer = listed(j) + at;
      const weight = v128.load64_splat(LIST_WEIGHTS + ((<usize>j) << 3));
      const x0 = v128.load(pointer);
      const x1 = v128.load(pointer, 16);
      const agrees0 = agreement(x0, positive0, zero);
      const agrees1 = agreement(x1, positive1, zero);
      agreed0 = f64x2.add(agreed0, v128.and(x0, agrees0));
      agreed1 = f64x2.add(agreed1, v128.and(x1, agrees1));
      weights0 = f64x2.add(weights0, v128.and(weight, agrees0));
      weights1 = f64x2.add(weights1, v128.and(weight, agrees1));
    }
    v128.store(sum + at, agreed0);
    v128.store(sum + at, agreed1, 16);
    v128.store(weightSum + at, weights0);
    v128.store(weightSum + at, weights1, 16);
  }
  for (let i = blocks; i < n; i++) {
    const at = (<usize>i) << 3;
    let total: f64 = 0;
    for (let j = 0; j < inputs; j++) total += load<f64>(listed(j) + at);
    const positive = total >= 0;
    let agreed: f64 = 0;
    let weights: f64 = 0;
    for (let j = 0; j < inputs; j++) {
      const x = load<f64>(listed(j) + at);
      if (positive ? x > 0 : x < 0) {
        agreed += x;
        weights += load<f64>(LIST_WEIGHTS + ((<usize>j) << 3));
      }
    }
    store<f64>(sum + at, agreed);
    store<f64>(weightSum + at, weights);
  }
}

/** out[i] = |b[i]| < limit ? a[i] : a[i] / b[i] */
export function divideUnlessSmall(out: usize, a: usize, b: usize, n: i32, limit: f64): void {
  const limits = f64x2.splat(limit);
  const pairs = n & ~1;
  for (let i = 0; i < pairs; i += 2) {
    const x = v128.load(a);
    const by = v128.load(b);
    v128.store(out, v128.bitselect(x, f64x2.div(x, by), f64x2.lt(f64x2.abs(by), limits)));
    out += 16;
    a += 16;
    b += 16;
  }
  if (pairs < n) {
    const x = load<f64>(a);
    const by = load<f64>(b);
    store<f64>(out, abs(by) < limit ? x : x / by);
  }
}
