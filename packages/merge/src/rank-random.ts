import { createKernels, createRandom, type RandomKey, rankScratchBytes } from "@loomweight/kernels";
import { LoomweightError } from "@loomweight/tensor";
import { type LazyTensor, scale } from "./lazy/lazy-tensor.ts";
import { groupsOf, streamRows } from "./lazy/reduce.ts";
import { keepNoted, type MaskKey } from "./sparsify.ts";

/**
 * Keeps entries with a probability that grows with their magnitude: within each row (vectors along axis 1; a 1-D tensor
 * is one row) entries are ranked ascending by magnitude, ties by position, and kept with probability
 * density − epsilon (smallest) to density + epsilon (largest), linear in the rank. Magnitudes that agree to float32 count as equal. Deep et al. 2024, arXiv:2406.11617.
 *
 * Which entries are kept is noted in one bit each while rows are ranked. Throws `INVALID_OPTION` unless both ends of
 * the range lie strictly between 0 and 1.
 */
export async function keepRandomByRank(
  tensor: LazyTensor,
  { density, epsilon }: { density: number; epsilon: number },
  key: MaskKey,
): Promise<LazyTensor> {
  if (density >= 1 || tensor.size === 0) return tensor;
  if (density <= 0) return scale(tensor, 0);
  if (density - epsilon <= 0 || density + epsilon >= 1) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "density − epsilon and density + epsilon must lie strictly between 0 and 1",
      tensor: key.tensor,
      option: "epsilon",
      expected: `less than ${Math.min(density, 1 - density)}`,
      found: String(epsilon),
    });
  }
  const { shape, size, engine } = tensor;
  // Vectors along axis 1: `rowLength` entries, `inner` apart; `inner` of them lie interleaved in a slice.
  const rowLength = shape.length > 1 ? shape[1] : size;
  const inner = shape.slice(2).reduce((product, length) => product * length, 1);
  const kept = await engine.gather(rankTogether, {
    tensor,
    rowLength,
    inner,
    random: createRandom(key.seed, `mask/${key.tensor}/${key.model}`).key,
    step: rowLength === 1 ? 0 : (2 * epsilon) / (rowLength - 1),
    low: rowLength === 1 ? density : density - epsilon,
  });
  return keepNoted(tensor, kept);
}

interface RankRequest {
  readonly tensor: LazyTensor;
  readonly rowLength: number;
  readonly inner: number;
  readonly random: RandomKey;
  readonly low: number;
  readonly step: number;
}

/** Most tensors whose rows are ranked in one pass. */
const mostTogether = 8;
/** Rows that need more working memory get kernels of their own. */
const mostRowBytes = 2 ** 21;

/** Which entries are kept, one bit each, for each request. */
async function rankTogether(requests: readonly RankRequest[]): Promise<Uint8Array[]> {
  const results = requests.map(({ tensor }) => new Uint8Array(Math.ceil(tensor.size / 8)));
  for (const group of groupsOf(requests, ({ tensor }) => String(tensor.shape), mostTogether)) {
    await rankRows(
      group.map((index) => requests[index]),
      group.map((index) => results[index]),
    );
  }
  return results;
}

/** One pass over tensors of one shape: each row, once it is whole, is ranked and thinned out. */
async function rankRows(requests: readonly RankRequest[], kept: readonly Uint8Array[]): Promise<void> {
  const [{ tensor, rowLength, inner }] = requests;
  const sliceLength = rowLength * inner;
  const bitBytes = Math.ceil((sliceLength + 7) / 8);
  const bytes = 4 * sliceLength * (requests.length + 1) + rankScratchBytes(rowLength) + bitBytes + 1024;
  const own = bytes > mostRowBytes ? createKernels({ bytes }) : undefined;
  const kernels = own ?? tensor.engine.kernels;
  let rows: readonly Float32Array[] = [];
  let words = new Uint32Array(0);
  let bits = new Uint8Array(0);
  let scratch = new Uint8Array(0);
  await streamRows(
    requests.map((request) => request.tensor),
    sliceLength,
    (pieces, index, column) => {
      pieces.forEach((piece, which) => {
        const row = rows[which];
        if (own !== undefined) row.set(piece, column);
        else kernels.store("float32", bytesOf(row, column, piece.length), piece);
        if (column + piece.length < sliceLength) return;
        const start = index * sliceLength;
        const { random, low, step } = requests[which];
        kernels.randomWords(words, random, start);
        kernels.keepByRank(bits.fill(0), start % 8, row, words, inner, { low, step }, scratch);
        writeBits(kept[which], start, sliceLength, bits);
      });
    },
    {
      prepare: () => {
        rows = requests.map(() => floatsOf(kernels.allocateUnset(4 * sliceLength)));
        const drawn = kernels.allocateUnset(4 * sliceLength);
        words = new Uint32Array(drawn.buffer, drawn.byteOffset, sliceLength);
        bits = kernels.allocate(bitBytes);
        scratch = kernels.allocateUnset(rankScratchBytes(rowLength));
      },
    },
  );
}

function floatsOf(block: Uint8Array<ArrayBuffer>): Float32Array<ArrayBuffer> {
  return new Float32Array(block.buffer, block.byteOffset, block.length / 4);
}

function bytesOf(floats: Float32Array, start: number, count: number): Uint8Array {
  return new Uint8Array(floats.buffer, floats.byteOffset + 4 * start, 4 * count);
}

/** Puts `count` bits, which begin at bit `start` mod 8 of `bits`, at bit `start` of `all`; rows come in order. */
function writeBits(all: Uint8Array, start: number, count: number, bits: Uint8Array): void {
  const first = Math.floor(start / 8);
  all[first] |= bits[0];
  const end = Math.ceil(((start % 8) + count) / 8);
  if (end > 1) all.set(bits.subarray(1, end), first + 1);
}
