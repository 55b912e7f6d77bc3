// float64 values to codes of a dtype, rounded once, to nearest, ties to even. NaN becomes one fixed code.

// @ts-ignore: decorator
@inline
function upper(x: v128): v128 {
  return i32x4.shuffle(x, x, 2, 3, 2, 3);
}

/** Four float64 rounded to four float32. */
// @ts-ignore: decorator
@inline
function demote(x0: v128, x1: v128): v128 {
  return i64x2.shuffle(f32x4.demote_f64x2_zero(x0), f32x4.demote_f64x2_zero(x1), 0, 2);
}

// @ts-ignore: decorator
@inline
function isTie(f: v128): v128 {
  return i32x4.eq(i32x4.shl(f, 16), i32x4.splat(<i32>0x80000000));
}

/**
 * `f` is x rounded to float32. Where f lies half-way between two bfloat16 but x does not, the last bit of f is moved
 * towards x, so that rounding f to bfloat16 equals rounding x: no double rounding.
 */
// @ts-ignore: decorator
@inline
function moveOffTies(f: v128, x0: v128, x1: v128): v128 {
  const p0 = f64x2.abs(f64x2.promote_low_f32x4(f));
  const p1 = f64x2.abs(f64x2.promote_low_f32x4(upper(f)));
  const m0 = f64x2.abs(x0);
  const m1 = f64x2.abs(x1);
  const d0 = i64x2.sub(f64x2.lt(m0, p0), f64x2.gt(m0, p0));
  const d1 = i64x2.sub(f64x2.lt(m1, p1), f64x2.gt(m1, p1));
  return i32x4.add(f, v128.and(i32x4.shuffle(d0, d1, 0, 2, 4, 6), isTie(f)));
}

/** float32 bits to bfloat16 codes in 32-bit lanes. */
// @ts-ignore: decorator
@inline
function toBfloat16(f: v128): v128 {
  const odd = v128.and(i32x4.shr_u(f, 16), i32x4.splat(1));
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(f, i32x4.splat(0x7fff)), odd), 16);
  return v128.bitselect(i32x4.splat(0x7fc0), rounded, f32x4.ne(f, f));
}

// @ts-ignore: decorator
@inline
function bfloat16Four(x0: v128, x1: v128): v128 {
  return toBfloat16(moveOffTies(demote(x0, x1), x0, x1));
}

export function storeBfloat16(codes: usize, values: usize, n: i32): void {
  const blocks = n & ~7;
  for (let i = 0; i < blocks; i += 8) {
    const x0 = v128.load(values);
    const x1 = v128.load(values, 16);
    const x2 = v128.load(values, 32);
    const x3 = v128.load(values, 48);
    let f0 = demote(x0, x1);
    let f1 = demote(x2, x3);
    if (v128.any_true(v128.or(isTie(f0), isTie(f1)))) {
      f0 = moveOffTies(f0, x0, x1);
      f1 = moveOffTies(f1, x2, x3);
    }
    v128.store(codes, i16x8.narrow_i32x4_u(toBfloat16(f0), toBfloat16(f1)));
    values += 64;
    codes += 16;
  }
  for (let i = blocks; i < n; i++) {
    const x = v128.load64_splat(values);
    store<u16>(codes, <u16>i32x4.extract_lane(bfloat16Four(x, x), 0));
    values += 8;
    codes += 2;
  }
}

/**
 * Two float64 to codes of a small float with `mantissa` stored bits and smallest normal 2^minimum, in 64-bit lanes.
 * Adding 2^(e + 52 - mantissa), e the exponent of x, rounds x to the wanted precision in one step; what the sum is
 * above that power is the mantissa. `limit`: the first value whose code is infinity or, without one, NaN.
 */
// @ts-ignore: decorator
@inline
function smallFloat(x: v128, mantissa: i32, minimum: i32, limit: f64, signShift: i32, nan: i64): v128 {
  const least = i64x2.splat((<i64>(1023 + minimum)) << 52);
  const magnitude = f64x2.pmin(f64x2.abs(x), f64x2.splat(limit));
  const exponent = f64x2.pmax(v128.and(magnitude, i64x2.splat(0x7ff0000000000000)), least);
  const power = i64x2.add(exponent, i64x2.splat((<i64>(52 - mantissa)) << 52));
  const fraction = i64x2.sub(f64x2.add(magnitude, power), power);
  const code = i64x2.add(fraction, i64x2.shr_u(i64x2.sub(exponent, least), 52 - mantissa));
  const sign = i64x2.shl(i64x2.shr_u(x, 63), signShift);
  return v128.bitselect(i64x2.splat(nan), v128.or(code, sign), f64x2.ne(x, x));
}

// @ts-ignore: decorator
@inline
function half(x: v128): v128 {
  return smallFloat(x, 10, -14, 65536, 15, 0x7e00);
}

export function storeFloat16(codes: usize, values: usize, n: i32): void {
  const blocks = n & ~7;
  for (let i = 0; i < blocks; i += 8) {
    const low = i32x4.shuffle(half(v128.load(values)), half(v128.load(values, 16)), 0, 2, 4, 6);
    const high = i32x4.shuffle(half(v128.load(values, 32)), half(v128.load(values, 48)), 0, 2, 4, 6);
    v128.store(codes, i16x8.narrow_i32x4_u(low, high));
    values += 64;
    codes += 16;
  }
  for (let i = blocks; i < n; i++) {
    store<u16>(codes, <u16>i64x2.extract_lane(half(v128.load64_splat(values)), 0));
    values += 8;
    codes += 2;
  }
}

// @ts-ignore: decorator
@inline
function byteFloats(codes: usize, values: usize, n: i32, mantissa: i32, minimum: i32, limit: f64): void {
  const blocks = n & ~3;
  for (let i = 0; i < blocks; i += 4) {
    const c0 = smallFloat(v128.load(values), mantissa, minimum, limit, 7, 0x7f);
    const c1 = smallFloat(v128.load(values, 16), mantissa, minimum, limit, 7, 0x7f);
    const words = i32x4.shuffle(c0, c1, 0, 2, 4, 6);
    const shorts = i16x8.narrow_i32x4_u(words, words);
    store<u32>(codes, <u32>i32x4.extract_lane(i8x16.narrow_i16x8_u(shorts, shorts), 0));
    values += 32;
    codes += 4;
  }
  for (let i = blocks; i < n; i++) {
    const code = smallFloat(v128.load64_splat(values), mantissa, minimum, limit, 7, 0x7f);
    store<u8>(codes, <u8>i64x2.extract_lane(code, 0));
    values += 8;
    codes += 1;
  }
}

/** 480 has the code of NaN: what rounds there, infinity too, overflows. */
export function storeFloat8E4m3fn(codes: usize, values: usize, n: i32): void {
  byteFloats(codes, values, n, 3, -6, 480);
}
export function storeFloat8E5m2(codes: usize, values: usize, n: i32): void {
  byteFloats(codes, values, n, 2, -14, 65536);
}

/** Powers of two 2^(code - 127); ties go to the even code; 0 and what is too small give 2^-127, negatives NaN. */
export function storeFloat8E8m0fnu(codes: usize, values: usize, n: i32): void {
  for (let i = 0; i < n; i++) {
    const x = load<f64>(values);
    let code: i32 = 255;
    if (x >= 0 && x < Infinity) {
      const bits = reinterpret<u64>(x);
      const exponent = (<i32>(bits >> 52)) - 896;
      const fraction = bits & 0xfffffffffffff;
      const up = fraction > 0x8000000000000 || (fraction == 0x8000000000000 && (exponent & 1) != 0);
      code = max(0, min(255, exponent + <i32>up));
    }
    store<u8>(codes, <u8>code);
    values += 8;
    codes += 1;
  }
}

export function storeFloat32(codes: usize, values: usize, n: i32): void {
  const nan = i32x4.splat(0x7fc00000);
  const blocks = n & ~3;
  for (let i = 0; i < blocks; i += 4) {
    const f = demote(v128.load(values), v128.load(values, 16));
    v128.store(codes, v128.bitselect(nan, f, f32x4.ne(f, f)));
    values += 32;
    codes += 16;
  }
  for (let i = blocks; i < n; i++) {
    const f = <f32>load<f64>(values);
    store<u32>(codes, f != f ? 0x7fc00000 : reinterpret<u32>(f));
    values += 8;
    codes += 4;
  }
}

export function storeFloat64(codes: usize, values: usize, n: i32): void {
  const nan = i64x2.splat(0x7ff8000000000000);
  const blocks = n & ~1;
  for (let i = 0; i < blocks; i += 2) {
    const x = v128.load(values);
    v128.store(codes, v128.bitselect(nan, x, f64x2.ne(x, x)));
    values += 16;
    codes += 16;
  }
  if (blocks < n) {
    const x = load<f64>(values);
    store<u64>(codes, x != x ? 0x7ff8000000000000 : reinterpret<u64>(x));
  }
}

/** Whole numbers saturate; NaN gives 0. */
// @ts-ignore: decorator
@inline
function integers<T>(codes: usize, values: usize, n: i32, low: f64, high: f64): void {
  for (let i = 0; i < n; i++) {
    const x = nearest<f64>(load<f64>(values));
    const held = x != x ? 0 : x < low ? low : x > high ? high : x;
    store<T>(codes, <T>held);
    values += 8;
    codes += sizeof<T>();
  }
}

export function storeInt8(codes: usize, values: usize, n: i32): void {
  integers<i8>(codes, values, n, -128, 127);
}
export function storeUint8(codes: usize, values: usize, n: i32): void {
  integers<u8>(codes, values, n, 0, 255);
}
export function storeInt16(codes: usize, values: usize, n: i32): void {
  integers<i16>(codes, values, n, -32768, 32767);
}
export function storeUint16(codes: usize, values: usize, n: i32): void {
  integers<u16>(codes, values, n, 0, 65535);
}
export function storeInt32(codes: usize, values: usize, n: i32): void {
  integers<i32>(codes, values, n, -2147483648, 2147483647);
}
export function storeUint32(codes: usize, values: usize, n: i32): void {
  integers<u32>(codes, values, n, 0, 4294967295);
}

/** The conversion itself saturates and gives 0 for NaN. */
export function storeInt64(codes: usize, values: usize, n: i32): void {
  for (let i = 0; i < n; i++) {
    store<i64>(codes, <i64>nearest<f64>(load<f64>(values)));
    values += 8;
    codes += 8;
  }
}
export function storeUint64(codes: usize, values: usize, n: i32): void {
  for (let i = 0; i < n; i++) {
    store<u64>(codes, <u64>nearest<f64>(load<f64>(values)));
    values += 8;
    codes += 8;
  }
}

/** Everything but 0 is true, NaN too. */
export function storeBool(codes: usize, values: usize, n: i32): void {
  for (let i = 0; i < n; i++) {
    store<u8>(codes, load<f64>(values) == 0 ? 0 : 1);
    values += 8;
    codes += 1;
  }
}
