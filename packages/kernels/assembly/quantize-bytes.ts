// Weights as codes of a byte each: 8 bits with a scale a row, 4 bits with a scale a block; and NF4, FP4 by their levels.
// src/plain/quantize-bytes.ts does the same. Values pass through the VALUES area as float32, a stretch at a time.

import { VALUES } from "./layout";
import { addNoise, beginNoise, endNoise, RESTORED, SPARE, STRETCH } from "./noise";
import { FLOAT32, toHalf, widen } from "./widen";

// @ts-ignore: decorator
@inline
function end16(n: i32): usize {
  return VALUES + ((<usize>((n + 15) & ~15)) << 2);
}

/** Sixteen codes to `out`, of which `left` are wanted. */
// @ts-ignore: decorator
@inline
function put16(out: usize, codes: v128, left: i32): void {
  if (left >= 16) {
    v128.store(out, codes);
    return;
  }
  v128.store(SPARE, codes);
  for (let i: usize = 0; i < <usize>left; i++) store<u8>(out + i, load<u8>(SPARE + i));
}

export function rangeRows(ranges: usize, dtype: i32, codes: usize, rows: i32, length: i32): i32 {
  const size = dtype == FLOAT32 ? 2 : 1;
  for (let row = 0; row < rows; row++) {
    let lows = v128.load32_splat(ranges);
    let highs = v128.load32_splat(ranges, 4);
    let bad = f32x4.splat(0);
    for (let from = 0; from < length; from += STRETCH) {
      const n = min(STRETCH, length - from);
      widen(dtype, codes, n);
      codes += (<usize>n) << size;
      const end = end16(n);
      for (let at = VALUES; at < end; at += 16) {
        const v = v128.load(at);
        lows = f32x4.pmin(lows, v);
        highs = f32x4.pmax(highs, v);
        bad = f32x4.add(bad, f32x4.sub(v, v));
      }
    }
    if (v128.any_true(f32x4.ne(bad, bad))) return row;
    lows = f32x4.pmin(lows, i32x4.shuffle(lows, lows, 2, 3, 0, 1));
    highs = f32x4.pmax(highs, i32x4.shuffle(highs, highs, 2, 3, 0, 1));
    store<f32>(ranges, min(f32x4.extract_lane(lows, 0), f32x4.extract_lane(lows, 1)));
    store<f32>(ranges, max(f32x4.extract_lane(highs, 0), f32x4.extract_lane(highs, 1)), 4);
    ranges += 8;
  }
  return -1;
}

export function quantizeInt8(
  out: usize,
  dtype: i32,
  codes: usize,
  rows: i32,
  length: i32,
  signed: i32,
  scales: usize,
  zeros: usize,
  step: usize,
  noise: usize,
): void {
  const size = dtype == FLOAT32 ? 2 : 1;
  const low = f32x4.splat(signed != 0 ? -128 : 0);
  const high = f32x4.splat(signed != 0 ? 127 : 255);
  if (noise != 0) beginNoise();
  for (let row = 0; row < rows; row++) {
    const scale = v128.load32_splat(scales);
    const zero = v128.load32_splat(zeros);
    scales += step;
    zeros += step;
    for (let from = 0; from < length; from += STRETCH) {
      const n = min(STRETCH, length - from);
      widen(dtype, codes, n);
      codes += (<usize>n) << size;
      const end = end16(n);
      let left = n;
      for (let at = VALUES; at < end; at += 64) {
        const a = held(at, scale, zero, low, high);
        const b = held(at + 16, scale, zero, low, high);
        const c = held(at + 32, scale, zero, low, high);
        const d = held(at + 48, scale, zero, low, high);
        if (noise != 0) {
          const to = at + (RESTORED - VALUES);
          v128.store(to, f32x4.mul(f32x4.sub(a, zero), scale));
          v128.store(to, f32x4.mul(f32x4.sub(b, zero), scale), 16);
          v128.store(to, f32x4.mul(f32x4.sub(c, zero), scale), 32);
          v128.store(to, f32x4.mul(f32x4.sub(d, zero), scale), 48);
        }
        put16(out, bytes(a, b, c, d, signed != 0), left);
        out += <usize>min(left, 16);
        left -= 16;
      }
      if (noise != 0) addNoise(n);
    }
  }
  if (noise != 0) endNoise(noise);
}

// @ts-ignore: decorator
@inline
function held(at: usize, scale: v128, zero: v128, low: v128, high: v128): v128 {
  const code = f32x4.add(f32x4.nearest(f32x4.div(v128.load(at), scale)), zero);
  return f32x4.pmax(f32x4.pmin(code, high), low);
}

/** Whole numbers that fit as bytes. */
// @ts-ignore: decorator
@inline
function bytes(a: v128, b: v128, c: v128, d: v128, signed: bool): v128 {
  const first = i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(a), i32x4.trunc_sat_f32x4_s(b));
  const second = i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(c), i32x4.trunc_sat_f32x4_s(d));
  return signed ? i8x16.narrow_i16x8_s(first, second) : i8x16.narrow_i16x8_u(first, second);
}

export function quantizeBlockBytes(
  out: usize,
  scales: usize,
  zeros: usize,
  dtype: i32,
  codes: usize,
  rows: i32,
  length: i32,
  blockSize: i32,
  even: i32,
  halfScales: i32,
  noise: usize,
): i32 {
  const size = dtype == FLOAT32 ? 2 : 1;
  const low = f32x4.splat(zeros == 0 ? -8 : 0);
  const high = f32x4.splat(zeros == 0 ? 7 : 15);
  if (noise != 0) beginNoise();
  for (let row = 0; row < rows; row++) {
    for (let from = 0; from < length; from += blockSize) {
      const n = min(blockSize, length - from);
      widen(dtype, codes, n);
      codes += (<usize>n) << size;
      const end = end16(n);
      let lows = f32x4.splat(0);
      let highs = lows;
      let bad = lows;
      for (let at = VALUES; at < end; at += 16) {
        const v = v128.load(at);
        lows = f32x4.pmin(lows, v);
        highs = f32x4.pmax(highs, v);
        bad = f32x4.add(bad, f32x4.sub(v, v));
      }
      if (v128.any_true(f32x4.ne(bad, bad))) return row;
      lows = f32x4.pmin(lows, i32x4.shuffle(lows, lows, 2, 3, 0, 1));
      highs = f32x4.pmax(highs, i32x4.shuffle(highs, highs, 2, 3, 0, 1));
      const least = min(f32x4.extract_lane(lows, 0), f32x4.extract_lane(lows, 1));
      const most = max(f32x4.extract_lane(highs, 0), f32x4.extract_lane(highs, 1));
      let zero: f32 = 0;
      let scale: f32;
      if (zeros == 0) {
        scale = (most > -least ? most : least) / -8;
        if (halfScales != 0) scale = toHalf(scale);
      } else {
        const step: f32 = (most - least) / 15;
        scale = halfScales != 0 ? toHalf(step) : step;
        if (step == 0) zero = even != 0 ? 8 : 0;
        else {
          const exact: f32 = -least / step;
          zero = min<f32>(max<f32>(even != 0 ? nearest<f32>(exact) : floor<f32>(exact + 0.5), 0), 15);
        }
        store<u8>(zeros, <u8>zero);
        zeros++;
      }
      store<f32>(scales, scale);
      scales += 4;
      const divisors = f32x4.splat(even == 0 ? (scale == 0 ? 0 : 1 / scale) : scale == 0 ? 1 : scale);
      const zeroPoints = f32x4.splat(zero);
      const steps = f32x4.splat(scale);
      let left = n;
      for (let at = VALUES; at < end; at += 64) {
        const a = heldOfBlock(at, divisors, zeroPoints, low, high, even);
        const b = heldOfBlock(at + 16, divisors, zeroPoints, low, high, even);
        const c = heldOfBlock(at + 32, divisors, zeroPoints, low, high, even);
        const d = heldOfBlock(at + 48, divisors, zeroPoints, low, high, even);
        if (noise != 0) {
          const to = at + (RESTORED - VALUES);
          v128.store(to, f32x4.mul(f32x4.sub(a, zeroPoints), steps));
          v128.store(to, f32x4.mul(f32x4.sub(b, zeroPoints), steps), 16);
          v128.store(to, f32x4.mul(f32x4.sub(c, zeroPoints), steps), 32);
          v128.store(to, f32x4.mul(f32x4.sub(d, zeroPoints), steps), 48);
        }
        put16(out, bytes(a, b, c, d, true), left);
        out += <usize>min(left, 16);
        left -= 16;
      }
      if (noise != 0) addNoise(n);
    }
  }
  if (noise != 0) endNoise(noise);
  return -1;
}

// @ts-ignore: decorator
@inline
function heldOfBlock(at: usize, divisor: v128, zero: v128, low: v128, high: v128, even: i32): v128 {
  const v = v128.load(at);
  let code: v128;
  if (even != 0) {
    code = f32x4.nearest(f32x4.add(f32x4.div(v, divisor), zero));
  } else {
    const product = f32x4.mul(v, divisor);
    // Zeros times an infinite inverse say nothing: they take the zero point.
    const x = v128.and(product, f32x4.eq(product, product));
    const whole = f32x4.trunc(x);
    const one = v128.or(f32x4.splat(1), v128.and(x, i32x4.splat(0x80000000)));
    const away = v128.and(one, f32x4.ge(f32x4.abs(f32x4.sub(x, whole)), f32x4.splat(0.5)));
    code = f32x4.add(f32x4.add(whole, away), zero);
  }
  return f32x4.pmax(f32x4.pmin(code, high), low);
}

export function quantizeLevels(
  packed: usize,
  largest: usize,
  dtype: i32,
  codes: usize,
  count: i32,
  blockSize: i32,
  bounds: usize,
  order: usize,
  levels: usize,
  noise: usize,
): i32 {
  const size = dtype == FLOAT32 ? 2 : 1;
  const names = v128.load(order);
  const lanes = i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  if (noise != 0) beginNoise();
  for (let from = 0, block = 0; from < count; from += blockSize, block++) {
    const n = min(blockSize, count - from);
    widen(dtype, codes, n);
    codes += (<usize>n) << size;
    const end = end16(n);
    let highs = f32x4.splat(0);
    let bad = highs;
    for (let at = VALUES; at < end; at += 16) {
      const v = v128.load(at);
      highs = f32x4.pmax(highs, f32x4.abs(v));
      bad = f32x4.add(bad, f32x4.sub(v, v));
    }
    if (v128.any_true(f32x4.ne(bad, bad))) return block;
    highs = f32x4.pmax(highs, i32x4.shuffle(highs, highs, 2, 3, 0, 1));
    const most = max(f32x4.extract_lane(highs, 0), f32x4.extract_lane(highs, 1));
    store<f32>(largest, most);
    largest += 4;
    const inverse: f32 = most == 0 ? 0 : 1 / most;
    // A magnitude below 2^-128 has no float32 inverse.
    const divide = inverse > f32.MAX_VALUE;
    const factor = f32x4.splat(divide ? most : inverse);
    let left = n;
    for (let at = VALUES; at < end; at += 64) {
      const x0 = quotient(at, factor, divide);
      const x1 = quotient(at + 16, factor, divide);
      const x2 = quotient(at + 32, factor, divide);
      const x3 = quotient(at + 48, factor, divide);
      let r0 = i32x4.splat(0);
      let r1 = r0;
      let r2 = r0;
      let r3 = r0;
      for (let bound = bounds; bound < bounds + 60; bound += 4) {
        const edge = v128.load32_splat(bound);
        r0 = i32x4.sub(r0, f32x4.gt(x0, edge));
        r1 = i32x4.sub(r1, f32x4.gt(x1, edge));
        r2 = i32x4.sub(r2, f32x4.gt(x2, edge));
        r3 = i32x4.sub(r3, f32x4.gt(x3, edge));
      }
      const ranks = i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(r0, r1), i16x8.narrow_i32x4_s(r2, r3));
      if (noise != 0) {
        v128.store(SPARE, ranks);
        const to = at + (RESTORED - VALUES);
        for (let i: usize = 0; i < 16; i++) {
          const level = load<f32>(levels + (<usize>load<u8>(SPARE + i) << 2));
          store<f32>(to + (i << 2), level * most);
        }
      }
      let sixteen = i8x16.swizzle(names, ranks);
      if (left < 16) sixteen = v128.and(sixteen, i8x16.lt_u(lanes, i8x16.splat(<i8>left)));
      const pairs = v128.or(i16x8.shl(v128.and(sixteen, i16x8.splat(0x0f)), 4), i16x8.shr_u(sixteen, 8));
      const eight = i8x16.narrow_i16x8_u(pairs, pairs);
      if (left >= 16) v128.store64_lane(packed, eight, 0);
      else put16(packed, eight, (left + 1) >> 1);
      packed += <usize>(min(left + 1, 16) >> 1);
      left -= 16;
    }
    if (noise != 0) addNoise(n);
  }
  if (noise != 0) endNoise(noise);
  return -1;
}

// @ts-ignore: decorator
@inline
function quotient(at: usize, factor: v128, divide: bool): v128 {
  const v = v128.load(at);
  const x = divide ? f32x4.div(v, factor) : f32x4.mul(v, factor);
  return f32x4.pmax(f32x4.pmin(x, f32x4.splat(1)), f32x4.splat(-1));
}

/** out[column][row] = a[row][column], bytes. */
export function transposeBytes(out: usize, a: usize, rows: i32, columns: i32): void {
  const width = <usize>columns;
  const height = <usize>rows;
  const wholeRows = rows & ~3;
  const wholeColumns = columns & ~15;
  for (let row = 0; row < wholeRows; row += 4) {
    let from = a + <usize>row * width;
    let to = out + <usize>row;
    for (let column = 0; column < wholeColumns; column += 16) {
      const r0 = v128.load(from);
      const r1 = v128.load(from + width);
      const r2 = v128.load(from + 2 * width);
      const r3 = v128.load(from + 3 * width);
      const lo01 = i8x16.shuffle(r0, r1, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const hi01 = i8x16.shuffle(r0, r1, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      const lo23 = i8x16.shuffle(r2, r3, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
      const hi23 = i8x16.shuffle(r2, r3, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
      to = four(to, height, i16x8.shuffle(lo01, lo23, 0, 8, 1, 9, 2, 10, 3, 11));
      to = four(to, height, i16x8.shuffle(lo01, lo23, 4, 12, 5, 13, 6, 14, 7, 15));
      to = four(to, height, i16x8.shuffle(hi01, hi23, 0, 8, 1, 9, 2, 10, 3, 11));
      to = four(to, height, i16x8.shuffle(hi01, hi23, 4, 12, 5, 13, 6, 14, 7, 15));
      from += 16;
    }
  }
  for (let row = 0; row < rows; row++) {
    for (let column = row < wholeRows ? wholeColumns : 0; column < columns; column++) {
      store<u8>(out + <usize>column * height + <usize>row, load<u8>(a + <usize>row * width + <usize>column));
    }
  }
}

/** Four columns of four bytes each; returns where the next column begins. */
// @ts-ignore: decorator
@inline
function four(to: usize, height: usize, words: v128): usize {
  v128.store32_lane(to, words, 0);
  v128.store32_lane(to + height, words, 1);
  v128.store32_lane(to + 2 * height, words, 2);
  v128.store32_lane(to + 3 * height, words, 3);
  return to + 4 * height;
}
