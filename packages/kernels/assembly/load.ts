// Codes of a dtype to float64 values, and the same fused with what comes next: out += weight * value, or
// out = value - b. `mode` is a constant in every caller, so each export is one straight loop; `apart` is how far b lies
// from out.

import { halfToFloat } from "./half";
import { E4M3_VALUES, E5M2_VALUES, E8M0_VALUES } from "./layout";

const LOAD: i32 = 0;
const ADD_SCALED: i32 = 1;
const SUBTRACT: i32 = 2;

// @ts-ignore: decorator
@inline
function put(mode: i32, at: usize, values: v128, weight: v128, apart: usize): void {
  if (mode == ADD_SCALED) v128.store(at, f64x2.add(v128.load(at), f64x2.mul(weight, values)));
  else if (mode == SUBTRACT) v128.store(at, f64x2.sub(values, v128.load(at + apart)));
  else v128.store(at, values);
}

// @ts-ignore: decorator
@inline
function putOne(mode: i32, at: usize, value: f64, weight: f64, apart: usize): void {
  if (mode == ADD_SCALED) store<f64>(at, load<f64>(at) + weight * value);
  else if (mode == SUBTRACT) store<f64>(at, value - load<f64>(at + apart));
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
function putFour(mode: i32, at: usize, floats: v128, weight: v128, apart: usize): void {
  put(mode, at, f64x2.promote_low_f32x4(floats), weight, apart);
  put(mode, at + 16, f64x2.promote_low_f32x4(upper(floats)), weight, apart);
}

// @ts-ignore: decorator
@inline
function bfloat16(mode: i32, out: usize, codes: usize, n: i32, weight: f64, apart: usize): void {
  const weights = f64x2.splat(weight);
  const zero = i32x4.splat(0);
  const blocks = n & ~7;
  for (let i = 0; i < blocks; i += 8) {
    const c = v128.load(codes);
    putFour(mode, out, i16x8.shuffle(zero, c, 0, 8, 1, 9, 2, 10, 3, 11), weights, apart);
    putFour(mode, out + 32, i16x8.shuffle(zero, c, 4, 12, 5, 13, 6, 14, 7, 15), weights, apart);
    codes += 16;
    out += 64;
  }
  for (let i = blocks; i < n; i++) {
    putOne(mode, out, <f64>reinterpret<f32>((<u32>load<u16>(codes)) << 16), weight, apart);
    codes += 2;
    out += 8;
  }
}

export function loadBfloat16(out: usize, codes: usize, n: i32): void {
  bfloat16(LOAD, out, codes, n, 0, 0);
}
export function addScaledBfloat16(out: usize, codes: usize, n: i32, weight: f64): void {
  bfloat16(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromBfloat16(out: usize, codes: usize, n: i32, b: usize): void {
  bfloat16(SUBTRACT, out, codes, n, 0, b - out);
}

// @ts-ignore: decorator
@inline
function float16(mode: i32, out: usize, codes: usize, n: i32, weight: f64, apart: usize): void {
  const weights = f64x2.splat(weight);
  const blocks = n & ~7;
  for (let i = 0; i < blocks; i += 8) {
    const c = v128.load(codes);
    putFour(mode, out, halfToFloat(i32x4.extend_low_i16x8_u(c)), weights, apart);
    putFour(mode, out + 32, halfToFloat(i32x4.extend_high_i16x8_u(c)), weights, apart);
    codes += 16;
    out += 64;
  }
  for (let i = blocks; i < n; i++) {
    const value = f32x4.extract_lane(halfToFloat(i32x4.splat(<i32>load<u16>(codes))), 0);
    putOne(mode, out, <f64>value, weight, apart);
    codes += 2;
    out += 8;
  }
}

export function loadFloat16(out: usize, codes: usize, n: i32): void {
  float16(LOAD, out, codes, n, 0, 0);
}
export function addScaledFloat16(out: usize, codes: usize, n: i32, weight: f64): void {
  float16(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromFloat16(out: usize, codes: usize, n: i32, b: usize): void {
  float16(SUBTRACT, out, codes, n, 0, b - out);
}

// @ts-ignore: decorator
@inline
function float32(mode: i32, out: usize, codes: usize, n: i32, weight: f64, apart: usize): void {
  const weights = f64x2.splat(weight);
  const blocks = n & ~7;
  for (let i = 0; i < blocks; i += 8) {
    putFour(mode, out, v128.load(codes), weights, apart);
    putFour(mode, out + 32, v128.load(codes, 16), weights, apart);
    codes += 32;
    out += 64;
  }
  for (let i = blocks; i < n; i++) {
    putOne(mode, out, <f64>load<f32>(codes), weight, apart);
    codes += 4;
    out += 8;
  }
}

export function loadFloat32(out: usize, codes: usize, n: i32): void {
  float32(LOAD, out, codes, n, 0, 0);
}
export function addScaledFloat32(out: usize, codes: usize, n: i32, weight: f64): void {
  float32(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromFloat32(out: usize, codes: usize, n: i32, b: usize): void {
  float32(SUBTRACT, out, codes, n, 0, b - out);
}

// @ts-ignore: decorator
@inline
function float64(mode: i32, out: usize, codes: usize, n: i32, weight: f64, apart: usize): void {
  const weights = f64x2.splat(weight);
  const blocks = n & ~3;
  for (let i = 0; i < blocks; i += 4) {
    put(mode, out, v128.load(codes), weights, apart);
    put(mode, out + 16, v128.load(codes, 16), weights, apart);
    codes += 32;
    out += 32;
  }
  for (let i = blocks; i < n; i++) {
    putOne(mode, out, load<f64>(codes), weight, apart);
    codes += 8;
    out += 8;
  }
}

export function loadFloat64(out: usize, codes: usize, n: i32): void {
  float64(LOAD, out, codes, n, 0, 0);
}
export function addScaledFloat64(out: usize, codes: usize, n: i32, weight: f64): void {
  float64(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromFloat64(out: usize, codes: usize, n: i32, b: usize): void {
  float64(SUBTRACT, out, codes, n, 0, b - out);
}

// @ts-ignore: decorator
@inline
function lookUp(mode: i32, table: usize, out: usize, codes: usize, n: i32, weight: f64, apart: usize): void {
  const end = codes + n;
  while (codes < end) {
    putOne(mode, out, load<f64>(table + ((<usize>load<u8>(codes)) << 3)), weight, apart);
    codes++;
    out += 8;
  }
}

export function loadFloat8E4m3fn(out: usize, codes: usize, n: i32): void {
  lookUp(LOAD, E4M3_VALUES, out, codes, n, 0, 0);
}
export function addScaledFloat8E4m3fn(out: usize, codes: usize, n: i32, weight: f64): void {
  lookUp(ADD_SCALED, E4M3_VALUES, out, codes, n, weight, 0);
}
export function subtractFromFloat8E4m3fn(out: usize, codes: usize, n: i32, b: usize): void {
  lookUp(SUBTRACT, E4M3_VALUES, out, codes, n, 0, b - out);
}
export function loadFloat8E5m2(out: usize, codes: usize, n: i32): void {
  lookUp(LOAD, E5M2_VALUES, out, codes, n, 0, 0);
}
export function addScaledFloat8E5m2(out: usize, codes: usize, n: i32, weight: f64): void {
  lookUp(ADD_SCALED, E5M2_VALUES, out, codes, n, weight, 0);
}
export function subtractFromFloat8E5m2(out: usize, codes: usize, n: i32, b: usize): void {
  lookUp(SUBTRACT, E5M2_VALUES, out, codes, n, 0, b - out);
}
export function loadFloat8E8m0fnu(out: usize, codes: usize, n: i32): void {
  lookUp(LOAD, E8M0_VALUES, out, codes, n, 0, 0);
}
export function addScaledFloat8E8m0fnu(out: usize, codes: usize, n: i32, weight: f64): void {
  lookUp(ADD_SCALED, E8M0_VALUES, out, codes, n, weight, 0);
}
export function subtractFromFloat8E8m0fnu(out: usize, codes: usize, n: i32, b: usize): void {
  lookUp(SUBTRACT, E8M0_VALUES, out, codes, n, 0, b - out);
}

// @ts-ignore: decorator
@inline
function integers<T>(mode: i32, out: usize, codes: usize, n: i32, weight: f64, apart: usize): void {
  for (let i = 0; i < n; i++) {
    putOne(mode, out, <f64>load<T>(codes), weight, apart);
    codes += sizeof<T>();
    out += 8;
  }
}

export function loadInt8(out: usize, codes: usize, n: i32): void {
  integers<i8>(LOAD, out, codes, n, 0, 0);
}
export function addScaledInt8(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<i8>(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromInt8(out: usize, codes: usize, n: i32, b: usize): void {
  integers<i8>(SUBTRACT, out, codes, n, 0, b - out);
}
export function loadUint8(out: usize, codes: usize, n: i32): void {
  integers<u8>(LOAD, out, codes, n, 0, 0);
}
export function addScaledUint8(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<u8>(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromUint8(out: usize, codes: usize, n: i32, b: usize): void {
  integers<u8>(SUBTRACT, out, codes, n, 0, b - out);
}
export function loadInt16(out: usize, codes: usize, n: i32): void {
  integers<i16>(LOAD, out, codes, n, 0, 0);
}
export function addScaledInt16(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<i16>(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromInt16(out: usize, codes: usize, n: i32, b: usize): void {
  integers<i16>(SUBTRACT, out, codes, n, 0, b - out);
}
export function loadUint16(out: usize, codes: usize, n: i32): void {
  integers<u16>(LOAD, out, codes, n, 0, 0);
}
export function addScaledUint16(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<u16>(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromUint16(out: usize, codes: usize, n: i32, b: usize): void {
  integers<u16>(SUBTRACT, out, codes, n, 0, b - out);
}
export function loadInt32(out: usize, codes: usize, n: i32): void {
  integers<i32>(LOAD, out, codes, n, 0, 0);
}
export function addScaledInt32(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<i32>(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromInt32(out: usize, codes: usize, n: i32, b: usize): void {
  integers<i32>(SUBTRACT, out, codes, n, 0, b - out);
}
export function loadUint32(out: usize, codes: usize, n: i32): void {
  integers<u32>(LOAD, out, codes, n, 0, 0);
}
export function addScaledUint32(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<u32>(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromUint32(out: usize, codes: usize, n: i32, b: usize): void {
  integers<u32>(SUBTRACT, out, codes, n, 0, b - out);
}
export function loadInt64(out: usize, codes: usize, n: i32): void {
  integers<i64>(LOAD, out, codes, n, 0, 0);
}
export function addScaledInt64(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<i64>(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromInt64(out: usize, codes: usize, n: i32, b: usize): void {
  integers<i64>(SUBTRACT, out, codes, n, 0, b - out);
}
export function loadUint64(out: usize, codes: usize, n: i32): void {
  integers<u64>(LOAD, out, codes, n, 0, 0);
}
export function addScaledUint64(out: usize, codes: usize, n: i32, weight: f64): void {
  integers<u64>(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromUint64(out: usize, codes: usize, n: i32, b: usize): void {
  integers<u64>(SUBTRACT, out, codes, n, 0, b - out);
}
// @ts-ignore: decorator
@inline
function truths(mode: i32, out: usize, codes: usize, n: i32, weight: f64, apart: usize): void {
  for (let i = 0; i < n; i++) {
    putOne(mode, out, load<u8>(codes) == 0 ? 0 : 1, weight, apart);
    codes++;
    out += 8;
  }
}

export function loadBool(out: usize, codes: usize, n: i32): void {
  truths(LOAD, out, codes, n, 0, 0);
}
export function addScaledBool(out: usize, codes: usize, n: i32, weight: f64): void {
  truths(ADD_SCALED, out, codes, n, weight, 0);
}
export function subtractFromBool(out: usize, codes: usize, n: i32, b: usize): void {
  truths(SUBTRACT, out, codes, n, 0, b - out);
}
