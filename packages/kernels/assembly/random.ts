// Philox4x32-10 (Salmon et al. 2011): four 32-bit words from a 128-bit counter and a 64-bit key. src/philox.ts is the
// reference. Word i of a stream is word i mod 4 of the block with counter floor(i / 4).

const WORDS: i32 = 0;
const NUMBERS: i32 = 1;
const BITS: i32 = 2;

/** out[i] = word (start + i) of the stream. */
export function randomWords(out: usize, n: i32, key0: u32, key1: u32, start: f64): void {
  let word = <u64>start;
  let left = n;
  while (left > 0) {
    if (left >= 16 && (word & 3) == 0) {
      fourBlocks(WORDS, out, word >> 2, key0, key1, 0);
      out += 64;
      word += 16;
      left -= 16;
      continue;
    }
    store<u32>(out, oneWord(word, key0, key1));
    out += 4;
    word++;
    left--;
  }
}

/** out[i] = 1 where word (start + i) of the stream is below `threshold` (0 .. 2^32), else 0. */
export function bernoulliMask(out: usize, n: i32, key0: u32, key1: u32, start: f64, threshold: f64): void {
  const limit = <u64>threshold;
  let word = <u64>start;
  let left = n;
  while (left > 0) {
    if (left >= 16 && (word & 3) == 0 && limit < 0x100000000) {
      fourBlocks(NUMBERS, out, word >> 2, key0, key1, <u32>limit);
      out += 128;
      word += 16;
      left -= 16;
      continue;
    }
    store<f64>(out, <f64>((<u64>oneWord(word, key0, key1)) < limit));
    out += 8;
    word++;
    left--;
  }
}

/** The same as bits: bit i mod 8 of byte floor(i / 8); spare bits of the last byte are 0. */
export function bernoulliBits(bits: usize, n: i32, key0: u32, key1: u32, start: f64, threshold: f64): void {
  const limit = <u64>threshold;
  let word = <u64>start;
  let i = 0;
  if ((word & 3) == 0 && limit < 0x100000000) {
    while (i + 16 <= n) {
      fourBlocks(BITS, bits + (<usize>(i >> 3)), word >> 2, key0, key1, <u32>limit);
      word += 16;
      i += 16;
    }
  }
  let byte: u32 = 0;
  while (i < n) {
    byte |= (<u32>((<u64>oneWord(word, key0, key1)) < limit)) << (i & 7);
    word++;
    i++;
    if ((i & 7) == 0 || i == n) {
      store<u8>(bits + (<usize>((i - 1) >> 3)), byte);
      byte = 0;
    }
  }
}

/** A single word, for the ends. */
function oneWord(word: u64, k0: u32, k1: u32): u32 {
  let c0 = <u32>(word >> 2);
  let c1 = <u32>(word >> 34);
  let c2: u32 = 0;
  let c3: u32 = 0;
  for (let round = 0; round < 10; round++) {
    const p0 = (<u64>c0) * 0xd2511f53;
    const p1 = (<u64>c2) * 0xcd9e8d57;
    c0 = (<u32>(p1 >> 32)) ^ c1 ^ k0;
    c1 = <u32>p1;
    c2 = (<u32>(p0 >> 32)) ^ c3 ^ k1;
    c3 = <u32>p0;
    k0 += 0x9e3779b9;
    k1 += 0xbb67ae85;
  }
  const which = <u32>word & 3;
  return which == 0 ? c0 : which == 1 ? c1 : which == 2 ? c2 : c3;
}

/** 1 or 0 of four comparisons as float64. */
// @ts-ignore: decorator
@inline
function putBlock(out: usize, below: v128): void {
  const one = f64x2.splat(1);
  v128.store(out, v128.and(i64x2.extend_low_i32x4_s(below), one));
  v128.store(out, v128.and(i64x2.extend_high_i32x4_s(below), one), 16);
}

/** Sixteen words: lane j of c0 .. c3 works on block + j. They become words, numbers 1 or 0, or 16 bits. */
// @ts-ignore: decorator
@inline
function fourBlocks(kind: i32, out: usize, block: u64, key0: u32, key1: u32, limit: u32): void {
  const first = i32x4.splat(<i32>block);
  let c0 = i32x4.add(first, i32x4(0, 1, 2, 3));
  let c1 = i32x4.sub(i32x4.splat(<i32>(block >> 32)), i32x4.lt_u(c0, first)); // the carry of the lower words
  let c2 = i32x4.splat(0);
  let c3 = i32x4.splat(0);
  let k0 = i32x4.splat(key0);
  let k1 = i32x4.splat(key1);
  const m0 = i32x4.splat(<i32>0xd2511f53);
  const m1 = i32x4.splat(<i32>0xcd9e8d57);
  for (let round = 0; round < 10; round++) {
    const p0low = i64x2.extmul_low_i32x4_u(c0, m0);
    const p0high = i64x2.extmul_high_i32x4_u(c0, m0);
    const p1low = i64x2.extmul_low_i32x4_u(c2, m1);
    const p1high = i64x2.extmul_high_i32x4_u(c2, m1);
    c0 = v128.xor(v128.xor(i32x4.shuffle(p1low, p1high, 1, 3, 5, 7), c1), k0);
    c1 = i32x4.shuffle(p1low, p1high, 0, 2, 4, 6);
    c2 = v128.xor(v128.xor(i32x4.shuffle(p0low, p0high, 1, 3, 5, 7), c3), k1);
    c3 = i32x4.shuffle(p0low, p0high, 0, 2, 4, 6);
    k0 = i32x4.add(k0, i32x4.splat(<i32>0x9e3779b9));
    k1 = i32x4.add(k1, i32x4.splat(<i32>0xbb67ae85));
  }
  if (kind == WORDS) {
    // Lanes are blocks, vectors are words: turned round for the output.
    const low01 = i32x4.shuffle(c0, c1, 0, 4, 1, 5);
    const low23 = i32x4.shuffle(c2, c3, 0, 4, 1, 5);
    const high01 = i32x4.shuffle(c0, c1, 2, 6, 3, 7);
    const high23 = i32x4.shuffle(c2, c3, 2, 6, 3, 7);
    v128.store(out, i64x2.shuffle(low01, low23, 0, 2));
    v128.store(out, i64x2.shuffle(low01, low23, 1, 3), 16);
    v128.store(out, i64x2.shuffle(high01, high23, 0, 2), 32);
    v128.store(out, i64x2.shuffle(high01, high23, 1, 3), 48);
    return;
  }
  const limits = i32x4.splat(limit);
  const b0 = i32x4.lt_u(c0, limits);
  const b1 = i32x4.lt_u(c1, limits);
  const b2 = i32x4.lt_u(c2, limits);
  const b3 = i32x4.lt_u(c3, limits);
  if (kind == BITS) {
    const bytes = i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(b0, b1), i16x8.narrow_i32x4_s(b2, b3));
    const turned = i8x16.shuffle(bytes, bytes, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    store<u16>(out, <u16>i8x16.bitmask(turned));
    return;
  }
  const low01 = i32x4.shuffle(b0, b1, 0, 4, 1, 5);
  const low23 = i32x4.shuffle(b2, b3, 0, 4, 1, 5);
  const high01 = i32x4.shuffle(b0, b1, 2, 6, 3, 7);
  const high23 = i32x4.shuffle(b2, b3, 2, 6, 3, 7);
  putBlock(out, i64x2.shuffle(low01, low23, 0, 2));
  putBlock(out + 32, i64x2.shuffle(low01, low23, 1, 3));
  putBlock(out + 64, i64x2.shuffle(high01, high23, 0, 2));
  putBlock(out + 96, i64x2.shuffle(high01, high23, 1, 3));
}
