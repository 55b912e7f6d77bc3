// Codes of a dtype to float64 values, and the same fused with a weighted sum: out += weight * value.
// `fused` is a constant in every caller, so each export is one straight loop.

import { E4M3_VALUES, E5M2_VALUES, E8M0_VALUES } from "./layout";

// @ts-ignore: decorator
@inline
function put(fused: bool, at: usize, values: v128, weight: v128): void {
  if (fused) v128.store(at, f64x2.add(v128.load(at), f64x2.mul(weight, values)));
  else v128.store(at, values);
}

// @ts-ignore: decorator
@inline
function putOne(fused: bool, at: usize, value: f64, weight: f64): void {
  if (fused) store<f64>(at, load<f64>(at) + weight * value);
  else store<f64>(at, value);
}

// @ts-ignore: decorator
@inline
function upper(x: v128): v128 {
  return i32x4.shuffle(x, x, 2, 3, 2, 3);
}

/** Four float32 to four float64 at `at`. */
// @ts-ignore: decorator
@inline
function putFour(fused: bool, at: usize, floats: v128, weight: v128): void {
  put(fused, at, f64x2.promote_low_f32x4(floats), weight);
  put(fused, at + 16, f64x2.promote_low_f32x4(upper(floats)), weight);
}

// @ts-ignore: decorator
@inline
function bfloat16(fused: bool, out: usize, codes: usize, n: i32, weight: f64): void {
  const weights = f64x2.splat(weight);
  const zero = i32x4.splat(0);
  const blocks = n & ~7;
  for (let i = 0; i < blocks; i += 8) {
    const c = v128.load(codes);
    putFour(fused, out, i16x8.shuffle(zero, c, 0, 8, 1, 9, 2, 10, 3, 11), weights);
    putFour(fused, out + 32, i16x8.shuffle(zero, c, 4, 12, 5, 13, 6, 14, 7, 15), weights);
    codes += 16;
    out += 64;
  }
  for (let i = blocks; i < n; i++) {
    putOne(fused, out, <f64>reinterpret<f32>((<u32>load<u16>(codes)) << 16), weight);
    codes += 2;
    out += 8;
  }
}

export function loadBfloat16(out: usize, codes: usize, n: i32): void {
  bfloat16(false, out, codes, n, 0);
}
export function addScaledBfloat16(out: usize, codes: usize, n: i32, weight: f64): void {
  bfloat16(true, out, codes, n, weight);
}

/** Four float16 codes, zero-extended, to float32: the exponent is moved; subnormals by a subtraction that is exact. */
// @ts-ignore: decorator
@inline
function halfToFloat(codes: v128): v128 {
  const magnitude = i32x4.shl(v128.and(codes, i32x4.splat(0x7fff)), 13);
  const normal = i32x4.add(magnitude, i32x4.splat(112 << 23));
  const subnormal = f32x4.sub(i32x4.add(magnitude, i32x4.splat(113 << 23)), i32x4.splat(113 << 23));
  const finite = v128.bitselect(subnormal, normal, i32x4.lt_s(magnitude, i32x4.splat(1 << 23)));
  const special = v128.and(i32x4.ge_s(magnitude, i32x4.splat(0x7c00 << 13)), i32x4.splat(112 << 23));
  const sign = i32x4.shl(v128.and(codes, i32x4.splat(0x8000)), 16);
  return v128.or(i32x4.add(finite, special), sign);
}

// @ts-ignore: decorator
@inline
function float16(fused: bool, out: usize, codes: usize, n: i32, weight: f64): void {
  const weights = f64x2.splat(weight);
  const blocks = n & ~7;
  for (let i = 0; i < blocks; i += 8) {
    const c = v128.load(codes);
    putFour(fused, out, halfToFloat(i32x4.extend_low_i16x8_u(c)), weights);
    putFour(fused, out + 32, halfToFloat(i32x4.extend_high_i16x8_u(c)), weights);
    codes += 16;
    out += 64;
  }
  for (let i = blocks; i < n; i++) {
    const value = f32x4.extract_lane(halfToFloat(i32x4.splat(<i32>load<u16>(codes))), 0);
    putOne(fused, out, <f64>value, weight);
    codes += 2;
    out += 8;
  }
}

export function loadFloat16(out: usize, codes: usize, n: i32): void {
  float16(false, out, codes, n, 0);
}
export function addScaledFloat16(out: usize, codes: usize, n: i32, weight: f64): void {
  float16(true, out, codes, n, weight);
}

// @ts-ignore: decorator
@inline
function float32(fused: bool, out: usize, codes: usize, n: i32, weight: f64): void {
  const weights = f64x2.splat(weight);
  const blocks = n & ~7;
  for (let i = 0; i < blocks; i += 8) {
    putFour(fused, out, v128.load(codes), weights);
    putFour(fused, out + 32, v128.load(codes, 16), weights);
    codes += 32;
    out += 64;
  }
  for (let i = blocks; i < n; i++) {
    putOne(fused, out, <f64>load<f32>(codes), weight);
    codes += 4;
    out += 8;
  }
}

export function loadFloat32(out: usize, codes: usize, n: i32): void {
  float32(false, out, codes, n, 0);
}
export function addScaledFloat32(out: usize, codes: usize, n: i32, weight: f64): void {
  float32(true, out, codes, n, weight);
}

// @ts-ignore: decorator
@inline
function float64(fused: bool, out: usize, codes: usize, n: i32, weight: f64): void {
  const weights = f64x2.splat(weight);
  const blocks = n & ~3;
  for (let i = 0; i < blocks; i += 4) {
    put(fused, out, v128.load(codes), weights);
    put(fused, out + 16, v128.load(codes, 16), weights);
    codes += 32;
    out += 32;
  }
  for (let i = blocks; i < n; i++) {
    putOne(fused, out, load<f64>(codes), weight);
    codes += 8;
    out += 8;
  }
}

export function loadFloat64(out: usize, codes: usize, n: i32): void {
  float64(false, out, codes, n, 0);
}
export function addScaledFloat64(out: usize, codes: usize, n: i32, weight: f64): void {
  float64(true, out, codes, n, weight);
}

// @ts-ignore: decorator
@inline
function lookUp(fused: bool, table: usize, out: usize, codes: usize, n: i32, weight: f64): void {
  const end = codes + n;
  while (codes < end) {
    putOne(fused, out, load<f64>(table + ((<usize>load<u8>(codes)) << 3)), weight);
    codes++;
    out += 8;
  }
}

export function loadFloat8E4m3fn(out: usize, codes: usize, n: i32): void {
  lookUp(false, E4M3_VALUES, out, codes, n, 0);
}
export function addScaledFloat8E4m3fn(out: usize, codes: usize, n: i32, weight: f64): void {
  lookUp(true, E4M3_VALUES, out, codes, n, weight);
}
export function loadFloat8E5m2(out: usize, codes: usize, n: i32): void {
  lookUp(false, E5M2_VALUES, out, codes, n, 0);
}
export function addScaledFloat8E5m2(out: usize, codes: usize, n: i32, weight: f64): void {
  lookUp(true, E5M2_VALUES, out, codes, n, weight);
}
export function loadFloat8E8m0fnu(out: usize, codes: usize, n: i32): void {
  lookUp(false, E8M0_VALUES, out, codes, n, 0);
}
export function addScaledFloat8E8m0fnu(out: usize, codes: usize, n: i32, weight: f64): void {
  lookUp(true, E8M0_VALUES, out, codes, n, weight);
}

// @ts-ignore: decorator
@inline
function integers<T>(fused: bool, out: usize, codes: usize, n: i32, weight: f64): void {
  for (let i = 0; i < n; i++) {
    putOne(fused, out, <f64>load<T>(codes), weight);
    codes += sizeof<T>();
    out += 8;
  }
}

export function loadInt8(out: usize, codes: usize, n: i32): void {
  integers<i8>(false, out, codes, n, 0);
}
export function addScaledInt8(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<i8>(true, out, codes, n, weight);
}
export function loadUint8(out: usize, codes: usize, n: i32): void {
  integers<u8>(false, out, codes, n, 0);
}
export function addScaledUint8(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<u8>(true, out, codes, n, weight);
}
export function loadInt16(out: usize, codes: usize, n: i32): void {
  integers<i16>(false, out, codes, n, 0);
}
export function addScaledInt16(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<i16>(true, out, codes, n, weight);
}
export function loadUint16(out: usize, codes: usize, n: i32): void {
  integers<u16>(false, out, codes, n, 0);
}
export function addScaledUint16(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<u16>(true, out, codes, n, weight);
}
export function loadInt32(out: usize, codes: usize, n: i32): void {
  integers<i32>(false, out, codes, n, 0);
}
export function addScaledInt32(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<i32>(true, out, codes, n, weight);
}
export function loadUint32(out: usize, codes: usize, n: i32): void {
  integers<u32>(false, out, codes, n, 0);
}
export function addScaledUint32(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<u32>(true, out, codes, n, weight);
}
export function loadInt64(out: usize, codes: usize, n: i32): void {
  integers<i64>(false, out, codes, n, 0);
}
export function addScaledInt64(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<i64>(true, out, codes, n, weight);
}
export function loadUint64(out: usize, codes: usize, n: i32): void {
  integers<u64>(false, out, codes, n, 0);
}
export function addScaledUint64(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<u64>(true, out, codes, n, weight);
}
// @ts-ignore: decorator
@inline
function truths(fused: bool, out: usize, codes: usize, n: i32, weight: f64): void {
  for (let i = 0; i < n; i++) {
    putOne(fused, out, load<u8>(codes) == 0 ? 0 : 1, weight);
    codes++;
    out += 8;
  }
}

export function loadBool(out: usize, codes: usize, n: i32): void {
  truths(false, out, codes, n, 0);
}
export function addScaledBool(out: usize, codes: usize, n: i32, weight: f64): void {
  truths(true, out, codes, n, weight);
}
