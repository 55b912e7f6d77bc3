// Which entries of a tile are kept, and where one is.

/** out[i] = a[i] where where[i] is not 0, else a[i] * 0. */
export function keepWhere(out: usize, a: usize, where: usize, n: i32): void {
  const zero = f64x2.splat(0);
  const one = f64x2.splat(1);
  const end = (<usize>(n & ~1)) << 3;
  for (let at: usize = 0; at < end; at += 16) {
    const factor = v128.and(f64x2.ne(v128.load(where + at), zero), one);
    v128.store(out + at, f64x2.mul(v128.load(a + at), factor));
  }
  if ((n & 1) != 0) store<f64>(out + end, load<f64>(a + end) * (load<f64>(where + end) != 0 ? 1 : 0));
}

// @ts-ignore: decorator
@inline
function bitAt(bits: usize, index: i32): i32 {
  return ((<i32>load<u8>(bits + (<usize>(index >>> 3)))) >>> (index & 7)) & 1;
}

// @ts-ignore: decorator
@inline
function keepPair(out: usize, a: usize, byte: v128, places: v128): void {
  const set = i64x2.ne(v128.and(byte, places), i64x2.splat(0));
  v128.store(out, f64x2.mul(v128.load(a), v128.and(set, f64x2.splat(1))));
}

/** out[i] = a[i] where bit first + i is 1, else a[i] * 0; bit j is bit j mod 8 of byte floor(j / 8). */
export function keepBits(out: usize, a: usize, bits: usize, first: i32, n: i32): void {
  let i = 0;
  while (i < n && ((first + i) & 7) != 0) {
    const at = (<usize>i) << 3;
    store<f64>(out + at, load<f64>(a + at) * <f64>bitAt(bits, first + i));
    i++;
  }
  const places01 = i64x2(1, 2);
  const places23 = i64x2(4, 8);
  const places45 = i64x2(16, 32);
  const places67 = i64x2(64, 128);
  while (i + 8 <= n) {
    const at = (<usize>i) << 3;
    const byte = i64x2.splat(<i64>load<u8>(bits + (<usize>((first + i) >>> 3))));
    keepPair(out + at, a + at, byte, places01);
    keepPair(out + at + 16, a + at + 16, byte, places23);
    keepPair(out + at + 32, a + at + 32, byte, places45);
    keepPair(out + at + 48, a + at + 48, byte, places67);
    i += 8;
  }
  while (i < n) {
    const at = (<usize>i) << 3;
    store<f64>(out + at, load<f64>(a + at) * <f64>bitAt(bits, first + i));
    i++;
  }
}

/** Bit i mod 8 of byte floor(i / 8): whether a[i] is not 0; spare bits of the last byte are 0. */
export function nonZeroBits(bits: usize, a: usize, n: i32): void {
  const zero = f64x2.splat(0);
  let i = 0;
  while (i + 8 <= n) {
    const low = i32x4.shuffle(f64x2.ne(v128.load(a), zero), f64x2.ne(v128.load(a, 16), zero), 0, 2, 4, 6);
    const high = i32x4.shuffle(f64x2.ne(v128.load(a, 32), zero), f64x2.ne(v128.load(a, 48), zero), 0, 2, 4, 6);
    store<u8>(bits, i16x8.bitmask(i16x8.narrow_i32x4_s(low, high)));
    a += 64;
    bits++;
    i += 8;
  }
  if (i == n) return;
  let byte = 0;
  for (let j = 0; j < n - i; j++) byte |= (<i32>(load<f64>(a + ((<usize>j) << 3)) != 0)) << j;
  store<u8>(bits, byte);
}

/** Index of the `occurrence`-th (from 1) entry with |a[i]| = magnitude; where there are fewer, -1 - their number. */
export function findMagnitude(a: usize, n: i32, magnitude: f64, occurrence: i32): i32 {
  const wanted = f64x2.splat(magnitude);
  let left = occurrence;
  let i = 0;
  while (i + 4 <= n) {
    const low = f64x2.eq(f64x2.abs(v128.load(a + ((<usize>i) << 3))), wanted);
    const high = f64x2.eq(f64x2.abs(v128.load(a + ((<usize>i) << 3), 16)), wanted);
    const found = popcnt(i64x2.bitmask(low) | (i64x2.bitmask(high) << 2));
    if (found >= left) break;
    left -= found;
    i += 4;
  }
  while (i < n) {
    if (abs(load<f64>(a + ((<usize>i) << 3))) == magnitude) {
      left--;
      if (left == 0) return i;
    }
    i++;
  }
  return -1 - (occurrence - left);
}

/** How many entries are not 0; NaN is not. */
export function countNonZero(a: usize, n: i32): i32 {
  const zero = f64x2.splat(0);
  let counts = i64x2.splat(0);
  const end = a + ((<usize>(n & ~1)) << 3);
  while (a < end) {
    counts = i64x2.sub(counts, f64x2.ne(v128.load(a), zero));
    a += 16;
  }
  let total = <i32>(i64x2.extract_lane(counts, 0) + i64x2.extract_lane(counts, 1));
  if ((n & 1) != 0 && load<f64>(a) != 0) total++;
  return total;
}
