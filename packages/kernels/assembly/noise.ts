// How far what codes stand for is from the weights: sums over a stretch of float32 values in the VALUES area and the
// values RESTORED from their codes, in four lanes by position.

import { VALUES } from "./layout";

/** Values of a stretch. */
export const STRETCH: i32 = 1024;
export const RESTORED: usize = VALUES + 4096;
/** Sums of squares (4 float64), of squared errors (4), largest errors (2); what follows is free for 64 bytes. */
const LANES: usize = VALUES + 8192;
/** Sixteen bytes that a last part is put together in. */
export const SPARE: usize = VALUES + 8320;

export function beginNoise(): void {
  for (let at: usize = 0; at < 80; at += 16) v128.store(LANES + at, f64x2.splat(0));
}

/** Adds the first n values (with zeros up to the next multiple of 4, which what is restored has too). */
export function addNoise(n: i32): void {
  let signal0 = v128.load(LANES);
  let signal1 = v128.load(LANES, 16);
  let noise0 = v128.load(LANES, 32);
  let noise1 = v128.load(LANES, 48);
  let largest = v128.load(LANES, 64);
  const end = VALUES + (<usize>n << 2);
  for (let at = VALUES; at < end; at += 16) {
    const v = v128.load(at);
    const value = v128.load(at + (RESTORED - VALUES));
    const v0 = f64x2.promote_low_f32x4(v);
    const v1 = f64x2.promote_low_f32x4(i32x4.shuffle(v, v, 2, 3, 2, 3));
    const e0 = f64x2.sub(v0, f64x2.promote_low_f32x4(value));
    const e1 = f64x2.sub(v1, f64x2.promote_low_f32x4(i32x4.shuffle(value, value, 2, 3, 2, 3)));
    signal0 = f64x2.add(signal0, f64x2.mul(v0, v0));
    signal1 = f64x2.add(signal1, f64x2.mul(v1, v1));
    noise0 = f64x2.add(noise0, f64x2.mul(e0, e0));
    noise1 = f64x2.add(noise1, f64x2.mul(e1, e1));
    largest = f64x2.pmax(f64x2.pmax(largest, f64x2.abs(e0)), f64x2.abs(e1));
  }
  v128.store(LANES, signal0);
  v128.store(LANES, signal1, 16);
  v128.store(LANES, noise0, 32);
  v128.store(LANES, noise1, 48);
  v128.store(LANES, largest, 64);
}

// @ts-ignore: decorator
@inline
function lanes(at: usize): f64 {
  return load<f64>(at) + load<f64>(at, 16) + (load<f64>(at, 8) + load<f64>(at, 24));
}

/** Adds the sums, and those of values that were summed apart, to the caller's three: signal, noise, largest error. */
export function endNoise(noise: usize, signal: f64 = 0, error: f64 = 0, largest: f64 = 0): void {
  store<f64>(noise, load<f64>(noise) + (lanes(LANES) + signal));
  store<f64>(noise + 8, load<f64>(noise + 8) + (lanes(LANES + 32) + error));
  const most = max(max(load<f64>(LANES + 64), load<f64>(LANES + 72)), largest);
  store<f64>(noise + 16, max(load<f64>(noise + 16), most));
}
