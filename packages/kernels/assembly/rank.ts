// Entries kept at random by the rank of their magnitude within a row (src/plain/random.ts is the reference).
//
// Rows are put in order by buckets: 64 or 128 to an octave, 16 octaves down from the largest magnitude, one below for
// the rest. Differences of 16-bit weights take few values, so a bucket mostly holds equal ones, in their order; what is
// out of order within a bucket is moved into place. Where that takes too many moves, a radix sort does it: fitted to the
// row by taking away first what all keys have in common.

const BUCKETS: i32 = 2048;
/** Moves per entry before the radix sort takes over. */
const PATIENCE: i32 = 8;

/** Fewest and most bits of a digit. */
const LEAST_DIGIT: i32 = 4;
const MOST_DIGIT: i32 = 11;

/**
 * For each of `inner` interleaved rows: entry i of rank r (ascending by magnitude, ties by position) is kept where
 * words[place] < (low + step * r) * 2^32, place = i * inner + row; then bit first + place of `bits` is set.
 * `scratch`: three tables of 2048 u32, then rowLength u32 and twice rowLength u64.
 */
export function keepByRank(
  bits: usize,
  first: i32,
  magnitudes: usize,
  words: usize,
  rowLength: i32,
  inner: i32,
  low: f64,
  step: f64,
  scratch: usize,
): void {
  const length = <usize>rowLength;
  const keys = scratch + 24576;
  const pairs = keys + ((length * 4 + 15) & ~15);
  const others = pairs + length * 8;
  for (let lane = 0; lane < inner; lane++) {
    const row = magnitudes + ((<usize>lane) << 2);
    let from = pairs;
    fillBuckets(pairs, row, rowLength, inner, scratch);
    if (!settle(pairs, rowLength)) from = radixSort(pairs, others, row, rowLength, inner, scratch, keys);
    let rank: f64 = 0;
    for (let i = 0; i < rowLength; i++) {
      const index = <i32>(load<u64>(from) >> 32);
      const place = index * inner + lane;
      const kept = <f64>load<u32>(words + ((<usize>place) << 2)) < (low + step * rank) * 4294967296.0;
      const bit = first + place;
      const byte = bits + (<usize>(bit >>> 3));
      store<u8>(byte, load<u8>(byte) | ((<u32>kept) << (bit & 7)));
      rank += 1;
      from += 8;
    }
  }
}

// @ts-ignore: decorator
@inline
function magnitudeBits(at: usize): u32 {
  return load<u32>(at) & 0x7fffffff;
}

function largestKey(row: usize, rowLength: i32, inner: i32): u32 {
  const magnitude = i32x4.splat(0x7fffffff);
  let largest: u32 = 0;
  let i = 0;
  if (inner == 1) {
    let most = i32x4.splat(0);
    while (i + 4 <= rowLength) {
      most = i32x4.max_s(most, v128.and(v128.load(row), magnitude));
      row += 16;
      i += 4;
    }
    largest = max(
      max(<u32>i32x4.extract_lane(most, 0), <u32>i32x4.extract_lane(most, 1)),
      max(<u32>i32x4.extract_lane(most, 2), <u32>i32x4.extract_lane(most, 3)),
    );
  }
  while (i < rowLength) {
    largest = max(largest, magnitudeBits(row));
    row += (<usize>inner) << 2;
    i++;
  }
  return largest;
}

/** Keys with their positions, ordered by bucket. */
function fillBuckets(pairs: usize, row: usize, rowLength: i32, inner: i32, counts: usize): void {
  const isShort = rowLength < BUCKETS;
  const shift = isShort ? 17 : 16;
  const buckets = isShort ? BUCKETS >> 1 : BUCKETS;
  const bottom = <i32>(largestKey(row, rowLength, inner) >> shift) - (buckets - 1);
  for (let at: usize = 0; at < (<usize>buckets) << 2; at += 16) v128.store(counts + at, i32x4.splat(0));
  const stride = (<usize>inner) << 2;
  let at = row;
  for (let i = 0; i < rowLength; i++) {
    count(counts, max(0, <i32>(magnitudeBits(at) >> shift) - bottom));
    at += stride;
  }
  accumulate(counts, (<usize>buckets) << 2);
  at = row;
  for (let i = 0; i < rowLength; i++) {
    const key = magnitudeBits(at);
    const counter = counts + ((<usize>max(0, <i32>(key >> shift) - bottom)) << 2);
    const place = load<u32>(counter);
    store<u32>(counter, place + 1);
    store<u64>(pairs + ((<usize>place) << 3), ((<u64>i) << 32) | <u64>key);
    at += stride;
  }
}

/** Insertion sort by key, equal keys in their order; false where it takes too many moves. */
function settle(pairs: usize, rowLength: i32): bool {
  const end = pairs + ((<usize>rowLength) << 3);
  let moves = rowLength * PATIENCE;
  let before: u32 = 0;
  for (let at = pairs; at < end; at += 8) {
    const pair = load<u64>(at);
    const key = <u32>pair;
    if (key >= before) {
      before = key;
      continue;
    }
    let to = at;
    while (to > pairs && <u32>load<u64>(to - 8) > key) {
      store<u64>(to, load<u64>(to - 8));
      to -= 8;
      moves--;
    }
    store<u64>(to, pair);
    if (moves < 0) return false;
  }
  return true;
}

/** The order by digits of fitted keys, lowest first; returns where it lies. */
function radixSort(
  pairs: usize,
  others: usize,
  row: usize,
  rowLength: i32,
  inner: i32,
  scratch: usize,
  keys: usize,
): usize {
  const width = makeKeys(keys, row, rowLength, inner);
  const most = max(LEAST_DIGIT, min(MOST_DIGIT, 31 - <i32>clz(rowLength | 1)));
  const passes = min(3, max(1, (width + most - 1) / most));
  const digit = max(1, (width + passes - 1) / passes);
  countDigits(scratch, keys, rowLength, passes, digit);
  scatterKeys(pairs, keys, rowLength, scratch, digit);
  let from = pairs;
  let to = others;
  for (let pass = 1; pass < passes; pass++) {
    scatterPairs(to, from, rowLength, scratch + ((<usize>pass) << 13), pass * digit, digit);
    const held = from;
    from = to;
    to = held;
  }
  return from;
}

/** Keys that order as the magnitudes do and start near 0; returns their bits. */
function makeKeys(keys: usize, magnitudes: usize, rowLength: i32, inner: i32): i32 {
  let all: u32 = 0;
  let least: u32 = 0xffffffff;
  let largest: u32 = 0;
  const stride = (<usize>inner) << 2;
  for (let i = 0; i < rowLength; i++) {
    const key = load<u32>(magnitudes) & 0x7fffffff;
    store<u32>(keys + ((<usize>i) << 2), key);
    all |= key;
    least = min(least, key - 1); // 0 becomes the largest
    largest = max(largest, key);
    magnitudes += stride;
  }
  if (all == 0) return 0;
  const shift = ctz(all);
  least++; // of those above 0
  const end = keys + ((<usize>(rowLength & ~3)) << 2);
  const leasts = i32x4.splat(least);
  const one = i32x4.splat(1);
  const zero = i32x4.splat(0);
  while (keys < end) {
    const key = v128.load(keys);
    const fitted = i32x4.add(i32x4.shr_u(i32x4.sub(key, leasts), shift), one);
    v128.store(keys, v128.andnot(fitted, i32x4.eq(key, zero)));
    keys += 16;
  }
  for (let i = 0; i < (rowLength & 3); i++) {
    const key = load<u32>(keys);
    store<u32>(keys, key == 0 ? 0 : ((key - least) >> shift) + 1);
    keys += 4;
  }
  return 32 - <i32>clz(((largest - least) >> shift) + 1);
}

/** Where the entries of each digit begin, one table of 2048 a digit. */
function countDigits(tables: usize, keys: usize, rowLength: i32, passes: i32, digit: i32): void {
  const size = (<usize>1) << (digit + 2);
  const mask = (1 << digit) - 1;
  for (let pass = 0; pass < passes; pass++) {
    for (let at: usize = 0; at < size; at += 16) v128.store(tables + ((<usize>pass) << 13) + at, i32x4.splat(0));
  }
  const end = keys + ((<usize>rowLength) << 2);
  while (keys < end) {
    const key = load<u32>(keys);
    count(tables, key & mask);
    if (passes > 1) count(tables + 8192, (key >> digit) & mask);
    if (passes > 2) count(tables + 16384, (key >> (2 * digit)) & mask);
    keys += 4;
  }
  for (let pass = 0; pass < passes; pass++) accumulate(tables + ((<usize>pass) << 13), size);
}

/** Numbers to the places where their groups begin. */
function accumulate(table: usize, size: usize): void {
  let total: u32 = 0;
  for (let at: usize = 0; at < size; at += 4) {
    const here = load<u32>(table + at);
    store<u32>(table + at, total);
    total += here;
  }
}

// @ts-ignore: decorator
@inline
function count(table: usize, value: u32): void {
  const at = table + ((<usize>value) << 2);
  store<u32>(at, load<u32>(at) + 1);
}

/** Keys with their positions, ordered by the lowest digit. */
function scatterKeys(out: usize, keys: usize, rowLength: i32, counts: usize, digit: i32): void {
  const mask = (1 << digit) - 1;
  for (let i = 0; i < rowLength; i++) {
    const key = load<u32>(keys + ((<usize>i) << 2));
    const counter = counts + ((<usize>(key & mask)) << 2);
    const place = load<u32>(counter);
    store<u32>(counter, place + 1);
    store<u64>(out + ((<usize>place) << 3), ((<u64>i) << 32) | <u64>key);
  }
}

/** The same ordered by a further digit. */
function scatterPairs(out: usize, pairs: usize, rowLength: i32, counts: usize, shift: i32, digit: i32): void {
  const mask = (1 << digit) - 1;
  for (let i = 0; i < rowLength; i++) {
    const pair = load<u64>(pairs + ((<usize>i) << 3));
    const counter = counts + ((<usize>(((<u32>pair) >> shift) & mask)) << 2);
    const place = load<u32>(counter);
    store<u32>(counter, place + 1);
    store<u64>(out + ((<usize>place) << 3), pair);
  }
}
