// Codes of weights as float32 in the VALUES area, a stretch at a time.

import { halfToFloat } from "./half";
import { VALUES } from "./layout";

export const FLOAT32: i32 = 0;
export const FLOAT16: i32 = 1;
export const BFLOAT16: i32 = 2;

// @ts-ignore: decorator
@inline
function one(dtype: i32, codes: usize, i: i32): f32 {
  if (dtype == FLOAT32) return load<f32>(codes + ((<usize>i) << 2));
  const code = <u32>load<u16>(codes + ((<usize>i) << 1));
  if (dtype == BFLOAT16) return reinterpret<f32>(code << 16);
  return f32x4.extract_lane(halfToFloat(i32x4.splat(<i32>code)), 0);
}

/** n values to VALUES, zeros up to the next multiple of 16. */
// @ts-ignore: decorator
@inline
export function widen(dtype: i32, codes: usize, n: i32): void {
  const whole = n & ~15;
  const zero = i32x4.splat(0);
  let to = VALUES;
  if (dtype == FLOAT32) {
    for (let i = 0; i < whole; i += 4) {
      v128.store(to, v128.load(codes + ((<usize>i) << 2)));
      to += 16;
    }
  } else {
    for (let i = 0; i < whole; i += 8) {
      const c = v128.load(codes + ((<usize>i) << 1));
      if (dtype == BFLOAT16) {
        v128.store(to, i16x8.shuffle(zero, c, 0, 8, 1, 9, 2, 10, 3, 11));
        v128.store(to, i16x8.shuffle(zero, c, 4, 12, 5, 13, 6, 14, 7, 15), 16);
      } else {
        v128.store(to, halfToFloat(i32x4.extend_low_i16x8_u(c)));
        v128.store(to, halfToFloat(i32x4.extend_high_i16x8_u(c)), 16);
      }
      to += 32;
    }
  }
  if (whole == n) return;
  for (let i = whole; i < n; i++) {
    store<f32>(to, one(dtype, codes, i));
    to += 4;
  }
  for (let i = n; (i & 15) != 0; i++) {
    store<f32>(to, 0);
    to += 4;
  }
}

/** The float16 nearest to x, ties to even, as a float32. */
export function toHalf(x: f32): f32 {
  const size = <f64>abs(x);
  if (size >= 65520) return x > 0 ? <f32>Infinity : -<f32>Infinity;
  const exponent = <i32>((reinterpret<u64>(size) >> 52) & 2047) - 1023;
  const quantum = reinterpret<f64>((<u64>(max(exponent, -14) - 10 + 1023)) << 52);
  const magic: f64 = 6755399441055744;
  return <f32>((<f64>x / quantum + magic - magic) * quantum);
}
