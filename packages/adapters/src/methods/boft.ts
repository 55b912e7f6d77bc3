import { div, mul, reshape, sub, transpose, type Value } from "@loomweight/graph";
import { fromData, integer, LoomweightError, type OptionValues, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { cayley, timesBlocks } from "../maths/rotation.ts";
import { forwardWith } from "../maths/update.ts";
import { dropout, note, option, unsupported } from "../peft/field.ts";

const options = {
  blockSize: integer(4, "inputs that turn together; 0: given by blocks", { min: 0 }),
  blocks: integer(0, "number of blocks; 0: given by blockSize", { min: 0 }),
};
type BoftOptions = OptionValues<typeof options>;

/**
 * BOFT with one butterfly factor: W′ = diag(scale) · W · blockDiagonal(Rᵢ)ᵀ for W [out, in], Rᵢ = (I − S)(I + S)⁻¹,
 * S = (turnᵢ − turnᵢᵀ) / 2; the bias is not scaled. Convolutions are turned over channels · kernel.
 * Source: Liu et al. 2024, arXiv:2311.06243, §4. As PEFT computes it without its CUDA extension, which fixes the number
 * of butterfly factors to 1: files with more are refused.
 */
export const boft = defineAdapter({
  name: "boft",
  source: "arXiv:2311.06243",
  scope: "layer",
  kinds: ["linear", "convolution"],
  options,
  params: (layer, given) => {
    const [blocks, size] = blocksOf(layer, given);
    return { turn: [blocks, size, size], scale: ["out"] };
  },
  init: (layer, given) => {
    const [blocks, size] = blocksOf(layer, given);
    // Zero: nothing turns; one: nothing grows.
    return {
      turn: zeros([blocks, size, size]),
      scale: fromData("float32", new Float32Array(layer.out).fill(1), [layer.out]),
    };
  },
  apply: (layer, { turn, scale }, x) => forwardWith(layer, turned(layer.weight, turn, scale), x),
  weight: (layer, { turn, scale }) => turned(layer.weight, turn, scale),
  original: (layer, { turn, scale }) => timesBlocks(div(layer.weight, reshape(scale, [-1, 1])), rotations(turn)),
  tiling: () => ({ out: 1 }),
  files: {
    peftTypes: ["BOFT"],
    fields: {
      boft_block_num: option(0),
      boft_block_size: option(4),
      boft_dropout: dropout,
      boft_n_butterfly_factor: unsupported(1, "BOFT with more than one butterfly factor"),
      fan_in_fan_out: note(false),
      init_weights: note(true),
    },
    optionFields: { blockSize: "boft_block_size", blocks: "boft_block_num" },
    suffixes: { boft_R: { param: "turn" }, boft_s: { param: "scale" } },
    fileShape: (param, layer, given) => {
      if (param === "scale") return layer.kind === "convolution" ? [1, layer.out] : [layer.out, 1];
      const [blocks, size] = blocksOf(layer, given);
      return [1, blocks, size, size];
    },
    biasOfAdapted: ["boft_only"],
  },
});

/** Options of `boft`, checked. */
export type { BoftOptions };

function blocksOf(layer: LayerShape, { blockSize, blocks }: BoftOptions): [number, number] {
  const given = blockSize !== 0 ? blockSize : blocks;
  if ((blockSize !== 0) !== (blocks !== 0) && layer.in % given === 0) {
    return blockSize !== 0 ? [layer.in / blockSize, blockSize] : [blocks, layer.in / blocks];
  }
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "BOFT takes the size of its blocks or their number, the other one 0, and it divides the layer",
    option: blockSize !== 0 ? "boft.blockSize" : "boft.blocks",
    expected: `a divisor of ${layer.in}`,
    found: `blockSize ${blockSize}, blocks ${blocks}`,
  });
}

function turned(weight: Value, turn: Value, scale: Value): Value {
  return mul(timesBlocks(weight, rotations(turn), true), reshape(scale, [-1, 1]));
}

function rotations(turn: Value): Value {
  return cayley(mul(sub(turn, transpose(turn, [0, 2, 1])), 0.5));
}
