import { add, matMul, neg, pad, reduceSum, reshape, slice, tile, transpose, type Value } from "@loomweight/graph";
import { choice, integer, invalidOption, LoomweightError, type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter, type ParamShape } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { missFields } from "../peft/fields.ts";
import type { PeftConfig } from "../peft/format.ts";

const options = {
  rank: integer(64, "length of a shard: entries i, i + rank, … of a row share one value", { min: 1 }),
  mode: choice(
    ["miss", "mini", "bat"],
    "miss",
    "miss: one block for all shards; mini: also repeated along out; bat: block-affine map of the weight",
  ),
  miniRank: integer(1, "mode mini: outputs o, o + miniRank, … share one value", { min: 1 }),
};
type MissOptions = OptionValues<typeof options>;

/**
 * MiSS and the two methods called Bone, for a linear weight W [out, in] and one tensor that starts at zero. No scaling.
 * miss: block [rank, out], W′[o, i] = W[o, i] + block[i mod rank, o].
 * mini: block [rank, miniRank], W′[o, i] = W[o, i] + block[i mod rank, o mod miniRank].
 * bat: block [out / rank, rank, rank] on the rank × rank blocks of W, row of blocks a: W′_ab = W_ab · block_a + W_ab + block_a.
 * Source: Kang et al. 2024, arXiv:2409.15371 (Bone; MiSS in later versions). As PEFT computes it: the paper's block is
 * transposed, and "Bone" in its first version and abstract is bat.
 */
export const miss = defineAdapter({
  name: "miss",
  source: "arXiv:2409.15371",
  scope: "layer",
  kinds: ["linear"],
  options,
  params: (layer, given) => ({ block: blockShape(layer, given) }),
  init: (layer, given) => ({ block: zeros(blockSizes(layer, given)) }), // zero: the adapted layer is the layer
  apply: (layer, { block }, x, given) => {
    if (given.mode === "bat")
      return add(layer.forward(x), matMul(x, transpose(batUpdate(layer, block, given), [1, 0])));
    const shared = given.mode === "mini" ? repeatTo(block, 1, layer.out) : block;
    return add(layer.forward(x), matMul(shardSums(x, layer.in, given.rank), shared));
  },
  weight: (layer, { block }, given) => {
    if (given.mode === "bat") return add(layer.weight, batUpdate(layer, block, given));
    const shared = given.mode === "mini" ? repeatTo(block, 1, layer.out) : block;
    return addToShards(layer, transpose(shared, [1, 0]), given.rank);
  },
  original: (layer, { block }, given) => {
    if (given.mode === "bat") return undefined;
    const shared = given.mode === "mini" ? repeatTo(block, 1, layer.out) : block;
    return addToShards(layer, neg(transpose(shared, [1, 0])), given.rank);
  },
  tiling: (_layer, { mode, rank, miniRank }) => ({ out: mode === "bat" ? rank : mode === "mini" ? miniRank : 1 }),
  files: {
    peftTypes: ["MISS", "BONE"],
    fields: missFields,
    optionFields: { rank: "r", miniRank: "mini_r", mode: "init_weights" },
    readOptions: (config, file) => ({ mode: readMode(config, file) }),
    writeOptions: ({ mode }) => ({ init_weights: mode === "miss" ? true : mode }),
    suffixes: { miss_block: { param: "block" }, bone_block: { param: "block" } },
    biasOfAdapted: ["MiSS_only", "miss_only", "bone_only"],
  },
});

/** `init_weights` decides how the file is read: true and false are one mode. */
function readMode(config: PeftConfig, file: string): string {
  const init = config.init_weights;
  if (typeof init !== "boolean" && init !== "bat" && init !== "mini") {
    throw invalidOption({ option: "init_weights", file }, init, 'true, false, "bat" or "mini"');
  }
  return typeof init === "boolean" ? "miss" : init;
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
  return [{ along: "out", per: rank }, rank, rank];
}

function blockSizes(layer: LayerShape, given: MissOptions): number[] {
  return blockShape(layer, given).map((dim) =>
    typeof dim === "number" ? dim : dim === "out" ? layer.out : layer.out / given.rank,
  );
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

/** W_ab · block_a + block_a for every block, [out, in]. `out` may be a slice of the layer's, in whole blocks. */
function batUpdate(
  layer: { readonly out: number; readonly in: number; readonly weight: Value },
  block: Value,
  { rank }: MissOptions,
): Value {
  const [rows, columns] = [layer.out / rank, layer.in / rank];
  const blocks = transpose(reshape(layer.weight, [rows, rank, columns, rank]), [0, 2, 1, 3]); // [rows, columns, rank, rank]
  const own = reshape(block, [rows, 1, rank, rank]);
  return reshape(transpose(add(matMul(blocks, own), own), [0, 2, 1, 3]), [layer.out, layer.in]);
}

/** Options of `miss`, checked. */
export type { MissOptions };
