// Weights in blocks along a row, as MatMulNBits takes them: range, scale, codes, and how far the codes are from the
// weights, in one pass. src/plain/quantize.ts does the same. A block is widened to float32 in the VALUES area first.

import { VALUES } from "./layout";
import { addNoise, beginNoise, endNoise, RESTORED } from "./noise";
import { BFLOAT16, FLOAT16, FLOAT32, toHalf, widen } from "./widen";

/** Sixteen codes, each a byte, at `out` in `bits` each. */
// @ts-ignore: decorator
@inline
function putCodes(out: usize, codes: v128, bits: i32): void {
  if (bits == 8) {
    v128.store(out, codes);
    return;
  }
  if (bits == 4) {
    const pairs = v128.or(
      v128.and(codes, i16x8.splat(0x0f)),
      v128.and(i16x8.shr_u(codes, 4), i16x8.splat(0xf0)),
    );
    v128.store64_lane(out, i8x16.narrow_i16x8_u(pairs, pairs), 0);
    return;
  }
  const pairs = v128.or(v128.and(codes, i16x8.splat(3)), v128.and(i16x8.shr_u(codes, 6), i16x8.splat(12)));
  const bytes = i8x16.narrow_i16x8_u(pairs, pairs);
  const fours = v128.or(v128.and(bytes, i16x8.splat(15)), v128.and(i16x8.shr_u(bytes, 4), i16x8.splat(0xf0)));
  v128.store32_lane(out, i8x16.narrow_i16x8_u(fours, fours), 0);
}

// @ts-ignore: decorator
@inline
function codesOf(at: usize, inverse: v128, offset: v128): v128 {
  return i32x4.trunc_sat_f32x4_s(f32x4.add(f32x4.mul(v128.load(at), inverse), offset));
}

/** What codes stand for. */
// @ts-ignore: decorator
@inline
function restored(code: v128, least: v128, most: v128, zeroPoints: v128, steps: v128): v128 {
  const held = i32x4.min_s(i32x4.max_s(code, least), most);
  return f32x4.mul(f32x4.sub(f32x4.convert_i32x4_s(held), zeroPoints), steps);
}

/** Sixteen bytes. */
const SPARE_CODES: usize = VALUES + 8448;

// @ts-ignore: decorator
@inline
function blocks(
  dtype: i32,
  measured: bool,
  packed: usize,
  scales: usize,
  zeros: usize,
  codes: usize,
  rows: i32,
  length: i32,
  blockSize: i32,
  bits: i32,
  halfScales: i32,
  noise: usize,
): i32 {
  const size = dtype == FLOAT32 ? 2 : 1;
  const blob = <usize>((blockSize * bits) >> 3);
  const half: f32 = <f32>(1 << (bits - 1));
  const top = (1 << bits) - 1;
  const tops = i8x16.splat(<i8>top);
  const order = i8x16(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  let farSignal: f64 = 0;
  let farNoise: f64 = 0;
  let farLargest: f64 = 0;
  if (measured) beginNoise();
  for (let row = 0; row < rows; row++) {
    for (let from = 0; from < length; from += blockSize) {
      const n = min(blockSize, length - from);
      widen(dtype, codes, n);
      codes += (<usize>n) << size;
      const end = VALUES + ((<usize>((n + 15) & ~15)) << 2);
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
      const low = min(f32x4.extract_lane(lows, 0), f32x4.extract_lane(lows, 1));
      const high = max(f32x4.extract_lane(highs, 0), f32x4.extract_lane(highs, 1));
      let zero = half;
      let scale: f32;
      if (zeros == 0) {
        scale = (high > -low ? high : low) / -half;
        if (halfScales != 0) scale = toHalf(scale);
      } else {
        const step: f32 = (high - low) / <f32>top;
        scale = halfScales != 0 ? toHalf(step) : step;
        zero = step == 0 ? 0 : min<f32>(max<f32>(floor<f32>(-low / step + 0.5), 0), <f32>top);
        store<u8>(zeros, <u8>zero);
        zeros++;
      }
      store<f32>(scales, scale);
      scales += 4;
      const inverse: f32 = scale == 0 ? 0 : 1 / scale;
      let out = packed;
      packed += blob;
      if (abs(inverse) <= f32.MAX_VALUE) {
        const inverses = f32x4.splat(inverse);
        const offsets = f32x4.splat(zero + 0.5);
        const steps = f32x4.splat(scale);
        const zeroPoints = f32x4.splat(zero);
        const least = i32x4.splat(0);
        const most = i32x4.splat(top);
        let left = n;
        for (let at = VALUES; at < end; at += 64) {
          const a = codesOf(at, inverses, offsets);
          const b = codesOf(at + 16, inverses, offsets);
          const c = codesOf(at + 32, inverses, offsets);
          const d = codesOf(at + 48, inverses, offsets);
          const sixteen = i8x16.narrow_i16x8_u(i16x8.narrow_i32x4_s(a, b), i16x8.narrow_i32x4_s(c, d));
          let bytes = i8x16.min_u(sixteen, tops);
          if (left < 16) bytes = v128.and(bytes, i8x16.lt_u(order, i8x16.splat(<i8>left)));
          left -= 16;
          putCodes(out, bytes, bits);
          out += <usize>(bits << 1);
          if (measured) {
            const to = at + (RESTORED - VALUES);
            v128.store(to, restored(a, least, most, zeroPoints, steps));
            v128.store(to, restored(b, least, most, zeroPoints, steps), 16);
            v128.store(to, restored(c, least, most, zeroPoints, steps), 32);
            v128.store(to, restored(d, least, most, zeroPoints, steps), 48);
          }
        }
        if (measured) addNoise(n);
      } else {
        // The inverse is infinite: zeros, for which 0 * infinity says nothing, take the zero point.
        for (let i = 0; i < n; i += 16) {
          let bytes = i8x16.splat(0);
          store<u64>(SPARE_CODES, 0);
          store<u64>(SPARE_CODES + 8, 0);
          for (let j = i; j < min(i + 16, n); j++) {
            const v = load<f32>(VALUES + ((<usize>j) << 2));
            const code: f32 = v == 0 ? zero : v > 0 == inverse > 0 ? <f32>top : 0;
            store<u8>(SPARE_CODES + <usize>(j - i), <u8>code);
            if (measured) {
              const error = <f64>v - <f64>((code - zero) * scale);
              farSignal += <f64>v * <f64>v;
              farNoise += error * error;
              farLargest = max(farLargest, abs(error));
            }
          }
          bytes = v128.load(SPARE_CODES);
          putCodes(out, bytes, bits);
          out += <usize>(bits << 1);
        }
      }
      for (; out < packed; out++) store<u8>(out, 0);
    }
  }
  if (measured) endNoise(noise, farSignal, farNoise, farLargest);
  return -1;
}

export function quantizeBlocksFloat32(
  packed: usize,
  scales: usize,
  zeros: usize,
  codes: usize,
  rows: i32,
  length: i32,
  blockSize: i32,
  bits: i32,
  halfScales: i32,
  noise: usize,
): i32 {
  return noise == 0
    ? blocks(FLOAT32, false, packed, scales, zeros, codes, rows, length, blockSize, bits, halfScales, 0)
    : blocks(FLOAT32, true, packed, scales, zeros, codes, rows, length, blockSize, bits, halfScales, noise);
}

export function quantizeBlocksFloat16(
  packed: usize,
  scales: usize,
  zeros: usize,
  codes: usize,
  rows: i32,
  length: i32,
  blockSize: i32,
  bits: i32,
  halfScales: i32,
  noise: usize,
): i32 {
  return noise == 0
    ? blocks(FLOAT16, false, packed, scales, zeros, codes, rows, length, blockSize, bits, halfScales, 0)
    : blocks(FLOAT16, true, packed, scales, zeros, codes, rows, length, blockSize, bits, halfScales, noise);
}

export function quantizeBlocksBfloat16(
  packed: usize,
  scales: usize,
  zeros: usize,
  codes: usize,
  rows: i32,
  length: i32,
  blockSize: i32,
  bits: i32,
  halfScales: i32,
  noise: usize,
): i32 {
  return noise == 0
    ? blocks(BFLOAT16, false, packed, scales, zeros, codes, rows, length, blockSize, bits, halfScales, 0)
    : blocks(BFLOAT16, true, packed, scales, zeros, codes, rows, length, blockSize, bits, halfScales, noise);
}
