import { add, matMul, neg, pad, reduceSum, reshape, slice, tile, transpose, type Value } from "@loomweight/graph";
import { solve } from "@loomweight/linalg";
import {
  cast,
  choice,
  contiguousData,
  fromData,
  integer,
  invalidOption,
  LoomweightError,
  type OptionValues,
  type Tensor,
  zeros,
} from "@loomweight/tensor";
import { defineAdapter, type ParamShape, paramShape } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { missFields } from "../peft/fields.ts";
import type { PeftConfig } from "../peft/format.ts";

const options = {
  rank: integer(64, "length of a shard: entries i, i + rank, … of a row share one value", { min: 1 }),
  mode: choice(
    ["miss", "mini", "bat", "bat-row", "bat-ab"],
    "miss",
    "miss: one block for all shards; mini: also repeated along out; bat: block-affine map of the weight by rows of blocks; bat-row: by columns of blocks; bat-ab: the same with an offset of its own",
  ),
  miniRank: integer(1, "mode mini: outputs o, o + miniRank, … share one value", { min: 1 }),
};
type MissOptions = OptionValues<typeof options>;

/**
 * MiSS and the two methods called Bone, for a linear weight W [out, in] and one tensor that starts at zero. No scaling.
 * miss: block [rank, out], W′[o, i] = W[o, i] + block[i mod rank, o].
 * mini: block [rank, miniRank], W′[o, i] = W[o, i] + block[i mod rank, o mod miniRank].
 * bat: block [out / rank, rank, rank] on the rank × rank blocks of W, row of blocks a: W′_ab = W_ab · block_a + W_ab + block_a.
 * bat-row, bat-ab (the paper's ablations, which PEFT's files do not know): one block a column of blocks, [in / rank, rank,
 * rank]: W′_ab = W_ab · block_b + W_ab + block_b, and with `offset` of the same shape W_ab · block_b + W_ab + offset_b.
 * Source: Kang et al. 2024, arXiv:2409.15371 (Bone; MiSS in later versions). As PEFT computes it: the paper's block is
 * transposed, and "Bone" in its first version and abstract is bat.
 */
export const miss = defineAdapter({
  name: "miss",
  source: "arXiv:2409.15371",
  scope: "layer",
  kinds: ["linear"],
  options,
  params: (layer, given): { block: ParamShape; offset?: ParamShape } => {
    const block = blockShape(layer, given);
    return given.mode === "bat-ab" ? { block, offset: block } : { block };
  },
  init: (layer, given): Readonly<Record<string, Tensor>> => {
    // zero: the adapted layer is the layer
    const block = zeros(paramShape(blockShape(layer, given), layer));
    return given.mode === "bat-ab" ? { block, offset: block } : { block };
  },
  apply: (layer, { block, offset }, x, given) => {
    if (isBat(given)) {
      // A changed weight: no part of its input is dropped.
      const update = batUpdate(layer, { block, offset }, given);
      return add(layer.forward(x), matMul(layer.input ?? x, transpose(update, [1, 0])));
    }
    const shared = given.mode === "mini" ? repeatTo(block, 1, layer.out) : block;
    return add(layer.forward(x), matMul(shardSums(x, layer.in, given.rank), shared));
  },
  weight: (layer, { block, offset }, given) => {
    if (isBat(given)) return add(layer.weight, batUpdate(layer, { block, offset }, given));
    const shared = given.mode === "mini" ? repeatTo(block, 1, layer.out) : block;
    return addToShards(layer, transpose(shared, [1, 0]), given.rank);
  },
  original: (layer, { block, offset }, given) => {
    if (isBat(given)) return batOriginal(layer, { block, offset } as BatBlocks<Tensor>, given);
    const shared = given.mode === "mini" ? repeatTo(block, 1, layer.out) : block;
    return addToShards(layer, neg(transpose(shared, [1, 0])), given.rank);
  },
  tiling: (_layer, given) => ({ out: isBat(given) ? given.rank : given.mode === "mini" ? given.miniRank : 1 }),
  files: {
    peftTypes: ["MISS", "BONE"],
    fields: missFields,
    optionFields: { rank: "r", miniRank: "mini_r", mode: "init_weights" },
    readOptions: (config, file) => ({ mode: readMode(config, file) }),
    writeOptions: ({ mode }) => ({ init_weights: mode === "miss" ? true : mode }),
    suffixes: { miss_block: { param: "block" }, bone_block: { param: "block" }, miss_offset: { param: "offset" } },
    biasOfAdapted: ["MiSS_only", "miss_only", "bone_only"],
  },
});

/** `init_weights` decides how the file is read: true and false are one mode. */
function readMode(config: PeftConfig, file: string): string {
  const init = config.init_weights;
  if (typeof init === "boolean") return "miss";
  const known = ["bat", "mini", "bat-row", "bat-ab"];
  if (typeof init === "string" && known.includes(init)) return init;
  throw invalidOption({ option: "init_weights", file }, init, 'true, false, "bat" or "mini"');
}

function blockShape(layer: LayerShape, { rank, mode, miniRank }: MissOptions): ParamShape {
  const fits = (size: number, part: number, what: string) => {
    if (size % part === 0) return;
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: `mode ${mode} needs ${what} to divide the layer`,
      option: `miss.${what}`,
      expected: `a divisor of ${size}`,
      found: String(part),
    });
  };
  if (mode === "miss") return [rank, "out"];
  if (mode === "mini") {
    fits(layer.out, miniRank, "miniRank");
    return [rank, miniRank];
  }
  fits(layer.out, rank, "rank");
  fits(layer.in, rank, "rank");
  return [{ along: mode === "bat" ? "out" : "in", per: rank }, rank, rank];
}

function isBat({ mode }: MissOptions): boolean {
  return mode !== "miss" && mode !== "mini";
}

/** weight [out, in] + shared [out, rank] in every shard of `rank` columns; the last shard may be cut. */
function addToShards(
  layer: { readonly out: number; readonly in: number; readonly weight: Value },
  shared: Value,
  rank: number,
): Value {
  if (layer.in % rank !== 0) return add(layer.weight, repeatTo(shared, 1, layer.in));
  const shards = reshape(layer.weight, [layer.out, layer.in / rank, rank]);
  return reshape(add(shards, reshape(shared, [layer.out, 1, rank])), [layer.out, layer.in]);
}

/** x repeated along an axis and cut to `size`. */
function repeatTo(x: Value, axis: 0 | 1, size: number): Value {
  const own = x.shape[axis] as number;
  if (own === size) return x;
  const repeats = Math.ceil(size / own);
  const repeated = tile(x, axis === 0 ? [repeats, 1] : [1, repeats]);
  return own * repeats === size ? repeated : slice(repeated, { starts: [0], ends: [size], axes: [axis] });
}

/** S[…, j] = Σₖ x[…, k · rank + j], [..., rank]; x is padded with zeros to a multiple of rank. */
function shardSums(x: Value, size: number, rank: number): Value {
  const lead = x.shape.slice(0, -1);
  const missing = (rank - (size % rank)) % rank;
  const padded = missing === 0 ? x : pad(x, [...lead.map(() => 0), 0, ...lead.map(() => 0), missing]);
  const shards = reshape(padded, [...lead.map(() => 0), (size + missing) / rank, rank]);
  return reduceSum(shards, [lead.length], false);
}

interface BatBlocks<V extends Value> {
  readonly block: V;
  readonly offset?: V;
}

/** W_ab · block + offset for every block, [out, in]; the offset is the block itself by default. `out` may be a slice of the layer's, in whole blocks. */
function batUpdate(
  layer: { readonly out: number; readonly in: number; readonly weight: Value },
  { block, offset = block }: BatBlocks<Value>,
  { rank, mode }: MissOptions,
): Value {
  const [rows, columns] = [layer.out / rank, layer.in / rank];
  const blocks = transpose(reshape(layer.weight, [rows, rank, columns, rank]), [0, 2, 1, 3]); // [rows, columns, rank, rank]
  const along = mode === "bat" ? [rows, 1, rank, rank] : [1, columns, rank, rank];
  const changed = add(matMul(blocks, reshape(block, along)), reshape(offset, along));
  return reshape(transpose(changed, [0, 2, 1, 3]), [layer.out, layer.in]);
}

/** W_ab = (W′_ab − offset) (1 + block)⁻¹. Throws `SINGULAR_MATRIX` where 1 + block has no inverse: the weight is forgotten. */
function batOriginal(
  layer: { readonly out: number; readonly in: number; readonly weight: Value },
  { block, offset = block }: BatBlocks<Tensor>,
  { rank, mode }: MissOptions,
): Tensor {
  const weight = contiguousData(cast(layer.weight as Tensor, "float64")) as Float64Array;
  const [multiplier, shift] = [block, offset].map((each) => contiguousData(cast(each, "float64")) as Float64Array);
  const out = new Float64Array(weight.length);
  const [rows, columns] = [layer.out / rank, layer.in / rank];
  const byRow = mode === "bat";
  const others = byRow ? columns : rows;
  const size = rank * rank;
  const at = (index: number, other: number, i: number, j: number) => {
    const [a, b] = byRow ? [index, other] : [other, index];
    return (a * rank + i) * layer.in + b * rank + j;
  };
  for (let index = 0; index < (byRow ? rows : columns); index++) {
    // x (1 + block) = m, transposed: all blocks that share a multiplier are solved at once.
    const left = new Float64Array(size);
    const right = new Float64Array(rank * others * rank);
    for (let i = 0; i < rank; i++) {
      for (let j = 0; j < rank; j++) {
        left[j * rank + i] = multiplier[index * size + i * rank + j] + (i === j ? 1 : 0);
        for (let other = 0; other < others; other++)
          right[j * others * rank + other * rank + i] =
            weight[at(index, other, i, j)] - shift[index * size + i * rank + j];
      }
    }
    const found = solve(fromData("float64", left, [rank, rank]), fromData("float64", right, [rank, others * rank]));
    const values = found.data as Float64Array;
    for (let i = 0; i < rank; i++)
      for (let j = 0; j < rank; j++)
        for (let other = 0; other < others; other++)
          out[at(index, other, i, j)] = values[j * others * rank + other * rank + i];
  }
  return fromData("float64", out, [layer.out, layer.in]);
}

/**
 * A miss or mini adapter as a LoRA of the same rank, exactly: A [rank, in] of zeros and ones, B [out, rank], scale 1
 * (alpha = rank). The bat modes have updates of any rank: approximate them (`extractLoraFolder` of `@loomweight/merge`).
 * Throws `UNSUPPORTED_ADAPTER` for them.
 */
export function missToLora(
  layer: LayerShape,
  block: Tensor,
  given: MissOptions,
): { readonly A: Tensor; readonly B: Tensor; readonly rank: number; readonly alpha: number } {
  const { rank } = given;
  if (isBat(given)) {
    throw new LoomweightError({
      code: "UNSUPPORTED_ADAPTER",
      problem: `the update of mode ${given.mode} has no low rank that is exact`,
      option: "miss.mode",
      expected: "miss or mini",
    });
  }
  const ones = new Float32Array(rank * layer.in);
  for (let i = 0; i < layer.in; i++) ones[(i % rank) * layer.in + i] = 1;
  const whole = given.mode === "mini" ? repeatTo(block, 1, layer.out) : block;
  return { A: fromData("float32", ones, [rank, layer.in]), B: transpose(whole, [1, 0]) as Tensor, rank, alpha: rank };
}

/** Options of `miss`, checked. */
export type { MissOptions };
