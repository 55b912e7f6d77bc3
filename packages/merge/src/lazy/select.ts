import { LoomweightError } from "@loomweight/tensor";
import { cutLargest, type MagnitudeCut } from "../magnitude-cut.ts";
import { type LazyTensor, sourcesOf } from "./lazy-tensor.ts";
import { groupsOf, valuesOf } from "./reduce.ts";
import { type ElementRange, streamTiles } from "./stream.ts";

/** Most words of a bracket that is counted. */
const bracketLimit = 1 << 17;
/** Upper words of float64 magnitudes lie in [0, 2³¹): sign bit dropped. */
const words = 2 ** 31;
/** Counts are noted after every segment, so that ties are looked up in one of them. */
const segmentSize = 1 << 20;
const maxSegments = 16;
/** Most bytes of the notes of one pass. */
const noteBytes = 1 << 24;
/** Counts of one word: how many, and what tells whether all have one value (see countWords). */
const entriesPerWord = 3;
/** Most elements of one word whose lower halves are sorted. */
const gatherLimit = 1 << 20;
const sampleBlocks = 32;
const sampleBlockSize = 512;
/** Tensors up to this size are held whole. */
const wholeLimit = 65536;
/** Most cuts that one pass looks for: each takes a bracket's counts. */
const mostTogether = 4;

interface Request {
  readonly tensor: LazyTensor;
  readonly keep: number;
}

/**
 * The cut that keeps exactly the `keep` largest magnitudes of `tensor` (1 <= keep <= size), exactly, at any size. Cuts
 * that are asked for side by side, of several tensors or of one, share their passes.
 *
 * A sample brackets the cut; one pass counts what lies above the bracket, and each upper half of a float64 within it;
 * a look at the one count that holds the cut finds the value and, among equals, the last index kept. A bracket that
 * is missed or too wide costs a pass more, never exactness.
 */
export async function selectLargest(tensor: LazyTensor, keep: number): Promise<MagnitudeCut> {
  if (keep >= tensor.size) return { threshold: 0, lastIndex: tensor.size - 1 };
  if (tensor.size <= wholeLimit) return selectInMemory(tensor, keep);
  return tensor.engine.gather(selectTogether, { tensor, keep });
}

async function selectTogether(requests: readonly Request[]): Promise<MagnitudeCut[]> {
  const cuts = new Array<MagnitudeCut>(requests.length);
  for (const group of groupsOf(requests, ({ tensor }) => tensor.size, mostTogether)) {
    const found = await selectByCounting(group.map((index) => requests[index]));
    group.forEach((index, at) => {
      cuts[index] = found[at];
    });
  }
  return cuts;
}

async function selectInMemory(tensor: LazyTensor, keep: number): Promise<MagnitudeCut> {
  const magnitudes = (await valuesOf(tensor)).map(Math.abs);
  refuseNonFinite(
    tensor,
    magnitudes.findIndex((value) => !Number.isFinite(value)),
  );
  return cutLargest(magnitudes, keep);
}

/**
 * The way of large tensors, all of one size; exported so that tests can compare the two on small ones.
 */
export async function selectByCounting(
  requests: readonly Request[],
  mostGathered: number = gatherLimit,
): Promise<MagnitudeCut[]> {
  const sampled = await sampleBrackets(requests);
  const brackets: Bracket[] = [];
  for (const [index, request] of requests.entries()) {
    const { low, high } = sampled[index];
    brackets.push(high - low <= bracketLimit ? sampled[index] : await coarseBracket(request));
  }
  const counted = await countBrackets(requests, brackets);
  const cuts: MagnitudeCut[] = [];
  for (const [index, request] of requests.entries()) {
    if (!holds(counted[index], request.keep)) {
      [counted[index]] = await countBrackets([request], [await coarseBracket(request)]);
    }
    cuts.push(await cutWithin(request, counted[index], mostGathered));
  }
  return cuts;
}

/** The cut that lies within a bracket. */
async function cutWithin({ tensor, keep }: Request, counted: Counted, mostGathered: number): Promise<MagnitudeCut> {
  const { low, counts, cumulative, segments } = counted;
  let kept = keep - counted.above;
  let at = counts.length - entriesPerWord;
  while (counts[at] < kept) {
    kept -= counts[at];
    at -= entriesPerWord;
  }
  const [count, or, complements] = counts.subarray(at);
  const word = low + at / entriesPerWord;
  if ((or & complements) !== 0) {
    const resolve = count <= mostGathered ? resolveBySorting : resolveByDigits;
    return resolve(tensor, word, count, kept);
  }
  const threshold = fromWords(word, or);
  // Zeros need no order: kept or not, they are zeros.
  if (threshold === 0) return { threshold, lastIndex: tensor.size - 1 };
  const segment = cumulative.findIndex((until) => until[at] >= kept);
  const before = segment === 0 ? 0 : cumulative[segment - 1][at];
  const lastIndex = await findOccurrence(tensor, segments[segment], threshold, kept - before);
  return { threshold, lastIndex };
}

/** Upper words [low, high). */
interface Bracket {
  readonly low: number;
  readonly high: number;
}

interface Counted {
  /** First word of the bracket. */
  readonly low: number;
  /** Elements above the bracket. */
  readonly above: number;
  /** Three entries per word of the bracket. */
  readonly counts: Uint32Array;
  /** The counts at the end of each segment. */
  readonly cumulative: readonly Uint32Array[];
  readonly segments: readonly ElementRange[];
}

/** The distinct tensors of requests, and which of them each is about. */
function distinctTensors(requests: readonly Request[]): {
  readonly tensors: readonly LazyTensor[];
  readonly which: readonly number[];
} {
  const nodes = [...new Set(requests.map(({ tensor }) => tensor.node))];
  const which = requests.map(({ tensor }) => nodes.indexOf(tensor.node));
  return { tensors: nodes.map((_, index) => requests[which.indexOf(index)].tensor), which };
}

/** Where the cuts lie by a sample of evenly spread blocks; all words where the tensors are small. */
async function sampleBrackets(requests: readonly Request[]): Promise<Bracket[]> {
  const [{ size }] = requests.map(({ tensor }) => tensor);
  if (size <= sampleBlocks * sampleBlockSize) return requests.map(() => ({ low: 0, high: words }));
  const stride = Math.floor(size / sampleBlocks);
  const ranges = Array.from({ length: sampleBlocks }, (_, index) => {
    const start = index * stride + Math.floor((stride - sampleBlockSize) / 2);
    return { start, end: start + sampleBlockSize };
  });
  const { tensors, which } = distinctTensors(requests);
  const samples = tensors.map(() => new Float64Array(sampleBlocks * sampleBlockSize));
  let filled = 0;
  await streamTiles(
    tensors,
    (values) => {
      values.forEach((block, index) => {
        for (let i = 0; i < block.length; i++) samples[index][filled + i] = Math.abs(block[i]);
      });
      filled += values[0].length;
    },
    { ranges },
  );
  for (const sample of samples) sample.sort();
  return requests.map(({ keep }, index) => {
    const sample = samples[which[index]];
    const position = sample.length * (1 - keep / size);
    // Rows differ in scale, so the sample is worth less than as many independent draws.
    const slack = 0.012 * sample.length + 8;
    const at = (place: number) => highWord(sample[Math.max(0, Math.min(sample.length - 1, Math.round(place)))]);
    const low = position - slack <= 0 ? 0 : at(position - slack);
    const high = position + slack >= sample.length ? words : at(position + slack) + 1;
    return { low, high };
  });
}

/** The bracket of 2¹⁶ words that holds the cut, by counting the upper 16 bits of all magnitudes. */
async function coarseBracket({ tensor, keep }: Request): Promise<Bracket> {
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

/** Counts all brackets in one pass. Throws `NON_FINITE`. */
async function countBrackets(requests: readonly Request[], brackets: readonly Bracket[]): Promise<Counted[]> {
  const { tensors, which } = distinctTensors(requests);
  const { size, engine } = tensors[0];
  const { kernels } = engine;
  const lengths = brackets.map(({ low, high }) => entriesPerWord * (high - low));
  const bytes = lengths.reduce((sum, length) => sum + 4 * length, 0);
  const segmentsAllowed = Math.max(1, Math.min(maxSegments, Math.floor(noteBytes / bytes)));
  const step = Math.max(segmentSize, Math.ceil(size / segmentsAllowed));
  const segments: ElementRange[] = [];
  for (let start = 0; start < size; start += step) segments.push({ start, end: Math.min(size, start + step) });
  const cumulative: Uint32Array[][] = requests.map(() => []);
  const above = requests.map(() => 0);
  let live: Uint32Array[] = [];
  await streamTiles(
    tensors,
    (values, start) => {
      values.forEach((block, index) => {
        const bad = kernels.firstNonFinite(block);
        refuseNonFinite(tensors[index], bad < 0 ? bad : start + bad);
      });
      for (let i = 0; i < live.length; i++) above[i] += kernels.countWords(live[i], values[which[i]], brackets[i].low);
    },
    {
      ranges: segments,
      prepare: () => {
        live = lengths.map((length) => allocateCounts(tensors[0], length));
      },
      afterTile: ({ end }) => {
        if (end !== segments[cumulative[0].length].end) return;
        live.forEach((counts, i) => void cumulative[i].push(counts.slice()));
      },
    },
  );
  return requests.map((_, i) => ({
    low: brackets[i].low,
    above: above[i],
    counts: cumulative[i][segments.length - 1],
    cumulative: cumulative[i],
    segments,
  }));
}

function allocateCounts({ engine }: LazyTensor, entries: number): Uint32Array<ArrayBuffer> {
  const block = engine.kernels.allocate(entries * 4);
  return new Uint32Array(block.buffer, block.byteOffset, entries);
}

/** Whether the cut lies within the bracket that was counted. */
function holds({ above, counts }: Counted, keep: number): boolean {
  let total = above;
  for (let at = 0; at < counts.length; at += entriesPerWord) total += counts[at];
  return above < keep && total >= keep;
}

/** Flat index of the `wanted`-th entry (from 1) of `range` whose magnitude equals `threshold`. */
async function findOccurrence(
  tensor: LazyTensor,
  range: ElementRange,
  threshold: number,
  wanted: number,
): Promise<number> {
  const { kernels } = tensor.engine;
  let left = wanted;
  let found = -1;
  await streamTiles(
    [tensor],
    ([values], start) => {
      if (found >= 0) return;
      const index = kernels.findMagnitude(values, threshold, left);
      if (index >= 0) found = start + index;
      else left -= -1 - index;
    },
    { ranges: [range] },
  );
  return found;
}

/** Calls `visit` with the lower half and the flat index of every entry whose magnitude has this upper half. */
async function visitWord(
  tensor: LazyTensor,
  word: number,
  visit: (lower: number, index: number) => void,
): Promise<void> {
  const { kernels, blockSize } = tensor.engine;
  let places = new Uint32Array(0);
  await streamTiles(
    [tensor],
    ([values], start) => {
      const found = kernels.findWord(places.subarray(0, values.length), values, word);
      if (found === 0) return;
      const halves = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
      for (let i = 0; i < found; i++) visit(halves[2 * places[i]], start + places[i]);
    },
    {
      prepare: () => {
        places = allocateCounts(tensor, blockSize);
      },
    },
  );
}

/** The cut among the `count` entries of one upper half, of which `kept` are kept: one pass gathers them. */
async function resolveBySorting(tensor: LazyTensor, word: number, count: number, kept: number): Promise<MagnitudeCut> {
  const lowers = new Uint32Array(count);
  const indices = new Float64Array(count);
  let filled = 0;
  await visitWord(tensor, word, (lower, index) => {
    lowers[filled] = lower;
    indices[filled++] = index;
  });
  const sorted = lowers.slice().sort(); // ascending
  const cut = sorted[count - kept];
  let left = kept;
  for (let i = count - 1; sorted[i] > cut; i--) left--;
  let at = -1;
  while (left > 0) if (lowers[++at] === cut) left--;
  return { threshold: fromWords(word, cut), lastIndex: indices[at] };
}

/** The same where they are too many: two passes find the lower half by its digits, a third the index among equals. */
async function resolveByDigits(tensor: LazyTensor, word: number, _: number, kept: number): Promise<MagnitudeCut> {
  let prefix = 0;
  let left = kept;
  for (const shift of [16, 0]) {
    const counts = new Uint32Array(1 << 16);
    await visitWord(tensor, word, (lower) => {
      if (shift === 16) counts[lower >>> 16]++;
      else if (lower >>> 16 === prefix) counts[lower & 0xffff]++;
    });
    let digit = 0xffff;
    while (digit > 0 && counts[digit] < left) left -= counts[digit--];
    prefix = shift === 16 ? digit : ((prefix << 16) | digit) >>> 0;
  }
  const threshold = fromWords(word, prefix);
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
