import { add, matMul, mul, reshape, slice, transpose, type Value } from "@loomweight/graph";
import { finite, integer, invalidOption, type OptionValues, type Tensor, zeros } from "@loomweight/tensor";
import { defineAdapter, type LayerValues, type ParamShape, type Params } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { addLowRank } from "../maths/low-rank.ts";
import { kaimingUniform } from "../maths/update.ts";
import { dropout, note, option } from "../peft/field.ts";

const options = {
  rank: integer(32, "rank of each row of blocks; a multiple of blocks", { min: 1 }),
  alpha: finite(64, "the update is scaled by alpha / (rank + commonRank)"),
  blocks: integer(2, "the weight is cut into blocks × blocks, each with its own update of rank / blocks", { min: 1 }),
  commonRank: integer(0, "rank of a LoRA beside the blocks", { min: 0 }),
};
type GraloraOptions = OptionValues<typeof options>;
type GraloraParams = "A" | "B" | "commonA" | "commonB";

/**
 * GraLoRA: the weight is cut into a grid of blocks and each gets a low-rank update of its own: with q = rank / blocks,
 * block (j, n) of W′ − W is s · (A[n, :, j q … (j + 1) q] · B[j, n q … (n + 1) q, :])ᵀ, s = alpha / (rank + commonRank),
 * A [blocks, in / blocks, rank], B [blocks, rank, out / blocks]; `commonRank` adds s · commonB commonA.
 * Source: Jung et al. 2025, arXiv:2505.20355. As PEFT computes it; factors are stored input first.
 */
export const gralora = defineAdapter({
  name: "gralora",
  source: "arXiv:2505.20355",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  params: (layer, { rank, blocks, commonRank }): { readonly [K in GraloraParams]?: ParamShape } => {
    for (const [what, size] of [
      ["outputs", layer.out],
      ["inputs", layer.in],
      ["rank", rank],
    ] as const) {
      if (size % blocks !== 0)
        throw invalidOption({ option: "gralora.blocks" }, blocks, `a divisor of the ${what}, ${size}`);
    }
    const [width, height] = [layer.in / blocks, layer.out / blocks];
    return {
      A: [{ along: "in", per: width }, width, rank],
      B: [{ along: "out", per: height }, rank, height],
      ...(commonRank === 0 ? {} : { commonA: [commonRank, "in"], commonB: ["out", commonRank] }),
    };
  },
  init: (layer, { rank, blocks, commonRank }, { random }): Record<string, Tensor> => {
    const width = layer.in / blocks;
    return {
      A: kaimingUniform(random, "A", [blocks, width, rank], width),
      B: zeros([blocks, rank, layer.out / blocks]), // zero, so training starts at the base model
      ...(commonRank === 0
        ? {}
        : {
            commonA: kaimingUniform(random, "commonA", [commonRank, layer.in], layer.in),
            commonB: zeros([layer.out, commonRank]),
          }),
    };
  },
  apply: (layer, params, x, given) => {
    const s = scale(given);
    const y = add(layer.forward(x), mul(throughBlocks(layer, params, x, given), s));
    if (given.commonRank === 0) return y;
    const common = matMul(matMul(x, transpose(params.commonA, [1, 0])), transpose(params.commonB, [1, 0]));
    return add(y, mul(common, s));
  },
  weight: (layer, params, given) => {
    const s = scale(given);
    const blocks = add(layer.weight, mul(grid(layer, params, given), s));
    return given.commonRank === 0 ? blocks : addLowRank(blocks, { A: params.commonA, B: params.commonB }, s);
  },
  additive: true,
  tiling: (layer, { blocks }) => ({ out: wholeSizes(layer).out / blocks, in: wholeSizes(layer).in / blocks }),
  files: {
    peftTypes: ["GRALORA"],
    fields: {
      alpha: option(64),
      fan_in_fan_out: option(false),
      gralora_dropout: dropout,
      gralora_k: option(2),
      hybrid_r: option(0),
      init_weights: note(true),
      r: option(32),
    },
    optionFields: { rank: "r", alpha: "alpha", blocks: "gralora_k", commonRank: "hybrid_r" },
    suffixes: {
      gralora_A: { param: "A" },
      gralora_B: { param: "B" },
      "gralora_A_general.weight": { param: "commonA" },
      "gralora_B_general.weight": { param: "commonB" },
    },
    biasOfAdapted: ["gralora_only"],
  },
});

/** Options of `gralora`, checked. */
export type { GraloraOptions };

function scale({ alpha, rank, commonRank }: GraloraOptions): number {
  return alpha / (rank + commonRank);
}

/** Sizes of the layer that a slice is cut from. */
function wholeSizes({ kind, storedShape }: LayerShape): { out: number; in: number } {
  const [rows, columns] = storedShape;
  return kind === "transposedLinear" ? { out: columns, in: rows } : { out: rows, in: columns };
}

/** The updates of all blocks in place, [out, in], without scale. */
function grid(layer: LayerValues, { A, B }: Params<GraloraParams>, { rank, blocks }: GraloraOptions): Value {
  const whole = wholeSizes(layer);
  const [width, height, part] = [whole.in / blocks, whole.out / blocks, rank / blocks];
  const [across, down] = [layer.in / width, layer.out / height];
  const firstRow = (layer.offset?.out ?? 0) / height;
  const firstColumn = (layer.offset?.in ?? 0) / width;
  const ranks = (x: Value, first: number, count: number, axis: number) =>
    slice(x, { starts: [first * part], ends: [(first + count) * part], axes: [axis] });
  // [down, across, width, part] · [down, across, part, height]
  const left = transpose(reshape(ranks(A, firstRow, down, 2), [across, width, down, part]), [2, 0, 1, 3]);
  const right = reshape(ranks(B, firstColumn, across, 1), [down, across, part, height]);
  return reshape(transpose(matMul(left, right), [0, 3, 1, 2]), [layer.out, layer.in]);
}

/** x [..., rows, in] through the blocks, [..., rows, out], without forming the update. */
function throughBlocks(
  layer: LayerShape,
  { A, B }: Params<GraloraParams>,
  x: Value,
  { rank, blocks }: GraloraOptions,
): Value {
  const lead = x.shape.slice(0, -2);
  const kept = lead.map(() => 0);
  const axes = lead.map((_, axis) => axis);
  const at = lead.length;
  const first = transpose(reshape(x, [...kept, 0, blocks, layer.in / blocks]), [...axes, at + 1, at, at + 2]);
  const hidden = reshape(matMul(first, A), [...kept, blocks, 0, blocks, rank / blocks]); // [..., n, rows, j, q]
  const second = reshape(transpose(hidden, [...axes, at + 2, at + 1, at, at + 3]), [...kept, blocks, 0, rank]);
  const y = transpose(matMul(second, B), [...axes, at + 1, at, at + 2]); // [..., rows, j, out / blocks]
  return reshape(y, [...kept, 0, layer.out]);
}
