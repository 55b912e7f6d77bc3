// Sums run in eight lanes: lane j takes the elements i = j (mod 8) of the whole groups of eight; the lanes are added as
// ((0+2)+(4+6)) + ((1+3)+(5+7)), then the remaining elements one by one. src/plain/reduce.ts does the same.

// @ts-ignore: decorator
@inline
function term(kind: i32, a: usize, b: usize, offset: usize): v128 {
  if (kind == 0) return v128.load(a + offset);
  if (kind == 1) return f64x2.abs(v128.load(a + offset));
  return f64x2.mul(v128.load(a + offset), v128.load(b + offset));
}

// @ts-ignore: decorator
@inline
function termOne(kind: i32, a: usize, b: usize): f64 {
  if (kind == 0) return load<f64>(a);
  if (kind == 1) return abs(load<f64>(a));
  return load<f64>(a) * load<f64>(b);
}

// @ts-ignore: decorator
@inline
function total(kind: i32, a: usize, b: usize, n: i32): f64 {
  let s0 = f64x2.splat(0);
  let s1 = f64x2.splat(0);
  let s2 = f64x2.splat(0);
  let s3 = f64x2.splat(0);
  const blocks = n & ~7;
  for (let i = 0; i < blocks; i += 8) {
    s0 = f64x2.add(s0, term(kind, a, b, 0));
    s1 = f64x2.add(s1, term(kind, a, b, 16));
    s2 = f64x2.add(s2, term(kind, a, b, 32));
    s3 = f64x2.add(s3, term(kind, a, b, 48));
    a += 64;
    b += 64;
  }
  const lanes = f64x2.add(f64x2.add(s0, s1), f64x2.add(s2, s3));
  let result = f64x2.extract_lane(lanes, 0) + f64x2.extract_lane(lanes, 1);
  for (let i = blocks; i < n; i++) {
    result += termOne(kind, a, b);
    a += 8;
    b += 8;
  }
  return result;
}

export function sum(a: usize, n: i32): f64 {
  return total(0, a, a, n);
}
export function sumAbs(a: usize, n: i32): f64 {
  return total(1, a, a, n);
}
export function dot(a: usize, b: usize, n: i32): f64 {
  return total(2, a, b, n);
}

/** NaN is passed over. */
export function maxAbs(a: usize, n: i32): f64 {
  let m0 = f64x2.splat(0);
  let m1 = f64x2.splat(0);
  const blocks = n & ~3;
  for (let i = 0; i < blocks; i += 4) {
    m0 = f64x2.pmax(m0, f64x2.abs(v128.load(a)));
    m1 = f64x2.pmax(m1, f64x2.abs(v128.load(a, 16)));
    a += 32;
  }
  m0 = f64x2.pmax(m0, m1);
  let result = max(f64x2.extract_lane(m0, 0), f64x2.extract_lane(m0, 1));
  for (let i = blocks; i < n; i++) {
    const x = abs(load<f64>(a));
    if (x > result) result = x;
    a += 8;
  }
  return result;
}

/** x - x is 0 unless x is NaN or infinite. */
export function firstNonFinite(a: usize, n: i32): i32 {
  const zero = f64x2.splat(0);
  let i = 0;
  const blocks = n & ~7;
  while (i < blocks) {
    const x0 = v128.load(a);
    const x1 = v128.load(a, 16);
    const x2 = v128.load(a, 32);
    const x3 = v128.load(a, 48);
    const differences = f64x2.add(
      f64x2.add(f64x2.sub(x0, x0), f64x2.sub(x1, x1)),
      f64x2.add(f64x2.sub(x2, x2), f64x2.sub(x3, x3)),
    );
    if (v128.any_true(f64x2.ne(differences, zero))) break;
    a += 64;
    i += 8;
  }
  while (i < n) {
    const x = load<f64>(a);
    if (x - x != 0) return i;
    a += 8;
    i++;
  }
  return -1;
}

/** Counts the 16-bit digit `level` (0 = uppermost) of the bits of |a[i]| where the digits above equal `prefix`. */
export function countMagnitudes(counts: usize, a: usize, n: i32, level: i32, prefix: u64): void {
  const shift = <u64>(48 - 16 * level);
  const end = a + ((<usize>n) << 3);
  if (level == 0) {
    while (a < end) {
      const key = <usize>((load<u64>(a) & 0x7fffffffffffffff) >> 48);
      const at = counts + (key << 2);
      store<u32>(at, load<u32>(at) + 1);
      a += 8;
    }
    return;
  }
  while (a < end) {
    const digits = (load<u64>(a) & 0x7fffffffffffffff) >> shift;
    if (digits >> 16 == prefix) {
      const at = counts + ((<usize>(digits & 0xffff)) << 2);
      store<u32>(at, load<u32>(at) + 1);
    }
    a += 8;
  }
}

/**
 * For each upper half `word` of |a[i]| in [low, low + width): three entries from counts[3 (word - low)] on are its
 * number, the lower halves or-ed, and their complements or-ed. Returns how many words are above. Most elements lie
 * outside the bracket: four are looked at together.
 */
export function countWords(counts: usize, width: i32, a: usize, n: i32, low: i32): i32 {
  const lows = i32x4.splat(low);
  const widths = i32x4.splat(width);
  const magnitude = i32x4.splat(0x7fffffff);
  let aboves = i32x4.splat(0);
  let above = 0;
  const blocks = n & ~3;
  for (let i = 0; i < blocks; i += 4) {
    const first = v128.load(a);
    const second = v128.load(a, 16);
    const words = v128.and(
      v128.shuffle<i32>(first, second, 1, 3, 5, 7),
      magnitude,
    );
    // Words and low lie in 0 .. 2^31 - 1, so their difference does not overflow.
    const at = i32x4.sub(words, lows);
    aboves = i32x4.sub(aboves, i32x4.ge_s(at, widths));
    let inside = i32x4.bitmask(i32x4.lt_u(at, widths));
    while (inside != 0) {
      const bits = load<u64>(a + ((<usize>ctz(inside)) << 3));
      countWord(counts, <i32>((bits >> 32) & 0x7fffffff) - low, <u32>bits);
      inside &= inside - 1;
    }
    a += 32;
  }
  for (let i = blocks; i < n; i++) {
    const bits = load<u64>(a);
    const offset = <i32>((bits >> 32) & 0x7fffffff) - low;
    if (offset >= width) above++;
    else if (offset >= 0) countWord(counts, offset, <u32>bits);
    a += 8;
  }
  return (
    above +
    i32x4.extract_lane(aboves, 0) +
    i32x4.extract_lane(aboves, 1) +
    i32x4.extract_lane(aboves, 2) +
    i32x4.extract_lane(aboves, 3)
  );
}

// @ts-ignore: decorator
@inline
function countWord(counts: usize, offset: i32, lower: u32): void {
  const at = counts + (<usize>offset) * 12;
  store<u32>(at, load<u32>(at) + 1);
  store<u32>(at, load<u32>(at, 4) | lower, 4);
  store<u32>(at, load<u32>(at, 8) | ~lower, 8);
}

/** Writes the indices of the elements whose |a[i]| has this upper half; returns their number. */
export function findWord(places: usize, a: usize, n: i32, word: i32): i32 {
  const wanted = i32x4.splat(word);
  const magnitude = i32x4.splat(0x7fffffff);
  const start = places;
  const blocks = n & ~3;
  for (let i = 0; i < n; i += 4) {
    let found: i32;
    if (i < blocks) {
      const words = v128.shuffle<i32>(v128.load(a), v128.load(a, 16), 1, 3, 5, 7);
      found = i32x4.bitmask(i32x4.eq(v128.and(words, magnitude), wanted));
    } else {
      found = 0;
      for (let j = 0; j < n - blocks; j++) {
        found |= (<i32>((load<i32>(a + ((<usize>j) << 3), 4) & 0x7fffffff) == word)) << j;
      }
    }
    while (found != 0) {
      store<u32>(places, i + ctz(found));
      places += 4;
      found &= found - 1;
    }
    a += 32;
  }
  return <i32>((places - start) >> 2);
}
