import type { LazyTensor } from "./lazy-tensor.ts";
import { valuesOf } from "./reduce.ts";
import { type ElementRange, streamTiles } from "./stream.ts";

/**
 * Where a tensor's magnitudes are cut: entries above `threshold` are kept, and of those equal to it the ones up to
 * flat index `lastIndex`. So exactly k entries are kept, ties broken by the lower index.
 */
export interface MagnitudeCut {
  readonly threshold: number;
  readonly lastIndex: number;
}

/** Buckets of one counting pass. */
const bucketLimit = 1 << 18;
/** High words of float64 magnitudes lie in [0, 2³¹): sign bit dropped. */
const highWords = 0x80000000;
/** A tensor is divided into so many segments, each with its own counts, so that ties are looked up in one of them. */
const segmentCount = 16;
const sampleBlocks = 32;
const sampleBlockSize = 1024;
/** Tensors up to this size are sorted whole. */
const sortLimit = 65536;

/**
 * The cut that keeps exactly the `keep` largest magnitudes of `tensor` (1 <= keep <= size), exactly, at any size.
 *
 * A sample brackets the cut; one pass counts what lies above the bracket and a histogram (by the high 32 bits of the
 * float64 magnitudes) within it; a look at the one bucket that holds the cut finds the value and, among equals, the
 * last index kept. A missed bracket costs another pass, never exactness.
 */
export async function selectLargest(tensor: LazyTensor, keep: number): Promise<MagnitudeCut> {
  if (keep >= tensor.size) return { threshold: 0, lastIndex: tensor.size - 1 };
  return tensor.size <= sortLimit ? selectBySorting(tensor, keep) : selectByCounting(tensor, keep);
}

async function selectBySorting(tensor: LazyTensor, keep: number): Promise<MagnitudeCut> {
  const magnitudes = (await valuesOf(tensor)).map(Math.abs);
  const sorted = magnitudes.slice().sort(); // ascending
  const threshold = sorted[sorted.length - keep];
  let left = keep;
  for (let i = sorted.length - 1; sorted[i] > threshold; i--) left--;
  let lastIndex = -1;
  while (left > 0) if (magnitudes[++lastIndex] === threshold) left--;
  return { threshold, lastIndex };
}

/** The way of large tensors; exported so that tests can compare the two on small ones. */
export async function selectByCounting(tensor: LazyTensor, keep: number): Promise<MagnitudeCut> {
  let bracket = await sampleBracket(tensor, keep);
  for (;;) {
    const counted = await countBracket(tensor, bracket);
    if (counted.above >= keep) {
      bracket = { low: bracket.high, high: highWords };
      continue;
    }
    const bucket = findBucket(counted, keep);
    if (bucket === undefined) {
      bracket = { low: 0, high: bracket.low };
      continue;
    }
    if (counted.shift > 0) {
      const low = bracket.low + bucket.index * 2 ** counted.shift;
      bracket = { low, high: low + 2 ** counted.shift };
      continue;
    }
    return resolveBucket(tensor, bracket.low + bucket.index, bucket, counted);
  }
}

interface Bracket {
  /** High words [low, high). */
  readonly low: number;
  readonly high: number;
}

interface Counted {
  readonly above: number;
  readonly shift: number;
  readonly total: Uint32Array;
  /** Counts up to and including each segment. */
  readonly cumulative: readonly Uint32Array[];
  readonly segments: readonly ElementRange[];
  /** Low words of everything in the bracket, or-ed: 0 means that a bucket holds one value only. */
  readonly lowBits: number;
}

interface Bucket {
  readonly index: number;
  /** How many of the bucket's entries are kept. */
  readonly kept: number;
  readonly count: number;
}

async function sampleBracket(tensor: LazyTensor, keep: number): Promise<Bracket> {
  const { size } = tensor;
  if (size <= sampleBlocks * sampleBlockSize) return { low: 0, high: highWords };
  const stride = Math.floor(size / sampleBlocks);
  const ranges = Array.from({ length: sampleBlocks }, (_, index) => {
    const start = index * stride + Math.floor((stride - sampleBlockSize) / 2);
    return { start, end: start + sampleBlockSize };
  });
  const sample = new Float64Array(sampleBlocks * sampleBlockSize);
  let filled = 0;
  await streamTiles(
    [tensor],
    ([values]) => {
      for (let i = 0; i < values.length; i++) sample[filled++] = Math.abs(values[i]);
    },
    { ranges },
  );
  sample.sort();
  const position = sample.length * (1 - keep / size);
  // Rows differ in scale, so the sample is worth less than as many independent draws.
  const slack = 0.012 * sample.length + 8;
  const at = (index: number) => highWord(sample[Math.max(0, Math.min(sample.length - 1, Math.round(index)))]);
  const low = position - slack <= 0 ? 0 : at(position - slack);
  const high = position + slack >= sample.length ? highWords : at(position + slack) + 1;
  return { low, high };
}

async function countBracket(tensor: LazyTensor, { low, high }: Bracket): Promise<Counted> {
  const span = high - low;
  const shift = Math.max(0, Math.ceil(Math.log2(span / bucketLimit)));
  const total = new Uint32Array(Math.ceil(span / 2 ** shift));
  const step = Math.max(1, Math.ceil(tensor.size / segmentCount));
  const segments: ElementRange[] = [];
  for (let start = 0; start < tensor.size; start += step) {
    segments.push({ start, end: Math.min(tensor.size, start + step) });
  }
  const cumulative: Uint32Array[] = [];
  let above = 0;
  let lowBits = 0;
  const last = high - 1;
  const width = span - 1;
  await streamTiles(
    [tensor],
    ([values]) => {
      const words = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
      let over = 0;
      for (let i = 1; i < words.length; i += 2) {
        const word = words[i] & 0x7fffffff;
        over += (last - word) >>> 31; // 1 where the word is above the bracket, without a branch
        const offset = (word - low) | 0;
        if (offset >= 0 && offset <= width) {
          total[offset >>> shift]++;
          lowBits |= words[i - 1];
        }
      }
      above += over;
    },
    {
      ranges: segments,
      afterTile: ({ end }) => {
        if (end === segments[cumulative.length].end) cumulative.push(shift === 0 ? total.slice() : total);
      },
    },
  );
  return { above, shift, total, cumulative, segments, lowBits };
}

function findBucket({ total, above }: Counted, keep: number): Bucket | undefined {
  let reached = above;
  for (let index = total.length - 1; index >= 0; index--) {
    if (reached + total[index] >= keep) return { index, kept: keep - reached, count: total[index] };
    reached += total[index];
  }
  return undefined;
}

/** The exact cut among the entries whose high word is `word`. */
async function resolveBucket(
  tensor: LazyTensor,
  word: number,
  bucket: Bucket,
  counted: Counted,
): Promise<MagnitudeCut> {
  if (counted.lowBits === 0) {
    const threshold = fromWords(word, 0);
    if (threshold === 0) return { threshold, lastIndex: tensor.size - 1 };
    const segment = counted.cumulative.findIndex((counts) => counts[bucket.index] >= bucket.kept);
    const before = segment === 0 ? 0 : counted.cumulative[segment - 1][bucket.index];
    const lastIndex = await findOccurrence(tensor, counted.segments[segment], threshold, bucket.kept - before);
    return { threshold, lastIndex };
  }
  return resolveByLowWord(tensor, word, bucket.kept);
}

/** Flat index of the `wanted`-th entry (from 1) of `range` whose magnitude equals `threshold`. */
async function findOccurrence(
  tensor: LazyTensor,
  range: ElementRange,
  threshold: number,
  wanted: number,
): Promise<number> {
  let seen = 0;
  let found = -1;
  await streamTiles(
    [tensor],
    ([values], start) => {
      if (found >= 0) return;
      for (let i = 0; i < values.length; i++) {
        if (Math.abs(values[i]) === threshold && ++seen === wanted) {
          found = start + i;
          return;
        }
      }
    },
    { ranges: [range] },
  );
  return found;
}

/** Two radix passes over the low 32 bits of the entries with one high word, then the index among equals. */
async function resolveByLowWord(tensor: LazyTensor, high: number, kept: number): Promise<MagnitudeCut> {
  let prefix = 0;
  let left = kept;
  for (const shift of [16, 0]) {
    const counts = new Uint32Array(1 << 16);
    await streamTiles([tensor], ([values]) => {
      const words = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
      for (let i = 1; i < words.length; i += 2) {
        if ((words[i] & 0x7fffffff) !== high) continue;
        const low = words[i - 1];
        if (shift === 16) counts[low >>> 16]++;
        else if (low >>> 16 === prefix) counts[low & 0xffff]++;
      }
    });
    let digit = 0xffff;
    while (digit > 0 && counts[digit] < left) left -= counts[digit--];
    prefix = shift === 16 ? digit : ((prefix << 16) | digit) >>> 0;
  }
  const threshold = fromWords(high, prefix);
  const lastIndex = await findOccurrence(tensor, { start: 0, end: tensor.size }, threshold, left);
  return { threshold, lastIndex };
}

function highWord(magnitude: number): number {
  return new Uint32Array(new Float64Array([magnitude]).buffer)[1] & 0x7fffffff;
}

function fromWords(high: number, low: number): number {
  return new Float64Array(new Uint32Array([low, high]).buffer)[0];
}

/** The next float64 above a non-negative number. */
export function nextUp(value: number): number {
  const bits = new BigUint64Array(new Float64Array([value]).buffer);
  bits[0] += 1n;
  return new Float64Array(bits.buffer)[0];
}
