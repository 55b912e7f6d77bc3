import { LoomweightError } from "@loomweight/tensor";
import { type LazyTensor, sourcesOf } from "./lazy-tensor.ts";
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

/** Most words of a bracket that is counted. */
const bracketLimit = 1 << 18;
/** Upper words of float64 magnitudes lie in [0, 2³¹): sign bit dropped. */
const words = 2 ** 31;
/** Counts are noted after every segment, so that ties are looked up in one of them. */
const segmentSize = 1 << 20;
const maxSegments = 16;
const sampleBlocks = 32;
const sampleBlockSize = 512;
/** Tensors up to this size are sorted whole. */
const sortLimit = 65536;

/**
 * The cut that keeps exactly the `keep` largest magnitudes of `tensor` (1 <= keep <= size), exactly, at any size.
 *
 * A sample brackets the cut; one pass counts what lies above the bracket, and each upper half of a float64 within it;
 * a look at the one count that holds the cut finds the value and, among equals, the last index kept. A bracket that
 * is missed or too wide costs a pass more, never exactness.
 */
export async function selectLargest(tensor: LazyTensor, keep: number): Promise<MagnitudeCut> {
  if (keep >= tensor.size) return { threshold: 0, lastIndex: tensor.size - 1 };
  return tensor.size <= sortLimit ? selectBySorting(tensor, keep) : selectByCounting(tensor, keep);
}

async function selectBySorting(tensor: LazyTensor, keep: number): Promise<MagnitudeCut> {
  const magnitudes = (await valuesOf(tensor)).map(Math.abs);
  refuseNonFinite(
    tensor,
    magnitudes.findIndex((value) => !Number.isFinite(value)),
  );
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
  const sampled = await sampleBracket(tensor, keep);
  let bracket = sampled.high - sampled.low <= bracketLimit ? sampled : await coarseBracket(tensor, keep);
  let counted = await countBracket(tensor, bracket);
  if (!holds(counted, keep)) {
    bracket = await coarseBracket(tensor, keep);
    counted = await countBracket(tensor, bracket);
  }
  let kept = keep - counted.above;
  let index = counted.counts.length - 1;
  while (counted.counts[index] < kept) kept -= counted.counts[index--];
  if (!counted.oneValueEach) return resolveByLowWord(tensor, bracket.low + index, kept);
  const threshold = fromWords(bracket.low + index, 0);
  // Zeros need no order: kept or not, they are zeros.
  if (threshold === 0) return { threshold, lastIndex: tensor.size - 1 };
  const segment = counted.cumulative.findIndex((counts) => counts[index] >= kept);
  const before = segment === 0 ? 0 : counted.cumulative[segment - 1][index];
  const lastIndex = await findOccurrence(tensor, counted.segments[segment], threshold, kept - before);
  return { threshold, lastIndex };
}

/** Upper words [low, high). */
interface Bracket {
  readonly low: number;
  readonly high: number;
}

interface Counted {
  /** Elements above the bracket. */
  readonly above: number;
  /** Per word of the bracket. */
  readonly counts: Uint32Array;
  /** The counts at the end of each segment. */
  readonly cumulative: readonly Uint32Array[];
  readonly segments: readonly ElementRange[];
  /** Whether all lower words are 0, so that a word stands for one value. */
  readonly oneValueEach: boolean;
}

/** Where the cut lies by a sample of evenly spread blocks; all words where the tensor is small. */
async function sampleBracket(tensor: LazyTensor, keep: number): Promise<Bracket> {
  const { size } = tensor;
  if (size <= sampleBlocks * sampleBlockSize) return { low: 0, high: words };
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
  const high = position + slack >= sample.length ? words : at(position + slack) + 1;
  return { low, high };
}

/** The bracket of 2¹⁶ words that holds the cut, by counting the upper 16 bits of all magnitudes. */
async function coarseBracket(tensor: LazyTensor, keep: number): Promise<Bracket> {
  const { kernels } = tensor.engine;
  let counts = new Uint32Array(0);
  let digit = 0xffff;
  await streamTiles([tensor], ([values]) => kernels.countMagnitudes(counts, values, 0, 0n), {
    prepare: () => {
      counts = allocateCounts(tensor, 65536);
    },
    finish: async () => {
      let left = keep;
      while (digit > 0 && counts[digit] < left) left -= counts[digit--];
    },
  });
  return { low: digit * 65536, high: (digit + 1) * 65536 };
}

async function countBracket(tensor: LazyTensor, { low, high }: Bracket): Promise<Counted> {
  const { kernels } = tensor.engine;
  const width = high - low;
  const step = Math.max(segmentSize, Math.ceil(tensor.size / maxSegments));
  const segments: ElementRange[] = [];
  for (let start = 0; start < tensor.size; start += step) {
    segments.push({ start, end: Math.min(tensor.size, start + step) });
  }
  const cumulative: Uint32Array[] = [];
  let above = 0;
  let lowBits = 0;
  let live = new Uint32Array(0);
  await streamTiles(
    [tensor],
    ([values], start) => {
      const index = kernels.firstNonFinite(values);
      refuseNonFinite(tensor, index < 0 ? index : start + index);
      above += kernels.countWords(live, values, low);
    },
    {
      ranges: segments,
      prepare: () => {
        live = allocateCounts(tensor, width + 1);
      },
      afterTile: ({ end }) => {
        if (end === segments[cumulative.length].end) cumulative.push(live.slice(0, width));
      },
      finish: async () => {
        lowBits = live[width];
      },
    },
  );
  return { above, counts: cumulative[cumulative.length - 1], cumulative, segments, oneValueEach: lowBits === 0 };
}

function allocateCounts({ engine }: LazyTensor, entries: number): Uint32Array<ArrayBuffer> {
  const block = engine.kernels.allocate(entries * 4);
  return new Uint32Array(block.buffer, block.byteOffset, entries);
}

/** Whether the cut lies within the bracket that was counted. */
function holds({ above, counts }: Counted, keep: number): boolean {
  let total = above;
  for (const count of counts) total += count;
  return above < keep && total >= keep;
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

/** Infinities and NaN have no place in an order of magnitudes, and trimming must not hide them. */
function refuseNonFinite(tensor: LazyTensor, index: number): void {
  if (index < 0) return;
  const sources = sourcesOf([tensor]);
  throw new LoomweightError({
    code: "NON_FINITE",
    problem: `element ${index} is infinite or NaN in ${sources.map(({ model }) => model).join(" or ")}`,
    tensor: sources[0]?.name,
    fix: "Entries are kept by magnitude, which needs finite weights: repair the model or leave it out.",
  });
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
