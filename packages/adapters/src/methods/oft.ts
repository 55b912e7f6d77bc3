import { add, div, max, min, mul, reduceSum, sqrt, stopGradient, sub, transpose, type Value } from "@loomweight/graph";
import { boolean, integer, LoomweightError, type OptionValues, positive, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { cayley, cayleyNeumann, inverse, skewSymmetric, timesBlocks } from "../maths/rotation.ts";
import { forwardWith } from "../maths/update.ts";
import { dropout, note, option } from "../peft/field.ts";
import type { PeftConfig } from "../peft/format.ts";

const options = {
  blockSize: integer(32, "inputs that turn together; 0: given by blocks. Adjusted to the nearest divisor of in", {
    min: 0,
  }),
  blocks: integer(0, "number of blocks; 0: given by blockSize", { min: 0 }),
  shared: boolean(false, "all blocks turn alike"),
  series: boolean(true, "Cayley's transform as a series, fast and only near a rotation; false: exact"),
  terms: integer(5, "terms of the series", { min: 1 }),
  constrained: boolean(false, "COFT: blocks turn by little, ‖Q‖ at most epsilon / √blocks"),
  epsilon: positive(6e-5, "bound of constrained blocks"),
};
type OftOptions = OptionValues<typeof options>;

/**
 * OFT: the inputs of a layer are turned in blocks before its weight sees them, W′ = W · blockDiagonal(Rᵢ)ᵀ for W
 * [out, in], Rᵢ = Cayley(Qᵢ), Qᵢ skew-symmetric from a vector: the strict upper triangle, row by row. An embedding's
 * outputs are turned instead. Convolutions are turned over channels · kernel.
 * Source: Qiu et al. 2023, arXiv:2306.07280; series and storage: Qiu et al. 2025 (OFTv2), arXiv:2506.19847. As PEFT
 * computes it: exact R = (I − Q)(I + Q)⁻¹, but the series goes for the inverse direction, I + 2Q + 2Q² + ….
 * Differs: a convolution is turned as its folded weight is; PEFT's unmerged one unfolds, turns and folds its input,
 * which is another function.
 */
export const oft = defineAdapter({
  name: "oft",
  source: "arXiv:2306.07280",
  scope: "layer",
  kinds: ["linear", "embedding", "convolution"],
  options,
  params: (layer, given) => {
    const [blocks, size] = blocksOf(layer, given);
    return { upper: [given.shared ? 1 : blocks, (size * (size - 1)) / 2] };
  },
  init: (layer, given) => {
    const [blocks, size] = blocksOf(layer, given);
    return { upper: zeros([given.shared ? 1 : blocks, (size * (size - 1)) / 2]) }; // zero: nothing turns
  },
  apply: (layer, { upper }, x, given) => {
    const turn = rotations(layer, upper, given);
    if (layer.kind === "linear") return layer.forward(timesBlocks(x, turn));
    return forwardWith(layer, turned(layer, layer.weight, turn), x);
  },
  weight: (layer, { upper }, given) => turned(layer, layer.weight, rotations(layer, upper, given)),
  original: (layer, { upper }, given) => {
    const turn = rotations(layer, upper, given);
    // The series is not orthogonal: its inverse is not its transpose.
    return given.series ? turned(layer, layer.weight, inverse(turn)) : turned(layer, layer.weight, turn, true);
  },
  // Turning runs along `in` (an embedding: along `out`), so the other axis can be cut anywhere.
  tiling: (layer) => (layer.kind === "embedding" ? { in: 1 } : { out: 1 }),
  files: {
    peftTypes: ["OFT"],
    fields: {
      block_share: option(false),
      coft: option(false),
      eps: option(6e-5),
      fan_in_fan_out: note(false),
      init_weights: note(true),
      module_dropout: dropout,
      num_cayley_neumann_terms: option(5),
      oft_block_size: option(32),
      r: option(0),
      use_cayley_neumann: option(true),
    },
    optionFields: {
      blockSize: "oft_block_size",
      blocks: "r",
      shared: "block_share",
      series: "use_cayley_neumann",
      terms: "num_cayley_neumann_terms",
      constrained: "coft",
      epsilon: "eps",
    },
    readOptions: (config, file) => checkBlocks(config, file),
    suffixes: {
      "oft_R.weight": { param: "upper" },
      "oft_embedding_R.weight": { param: "upper", kind: "embedding" },
    },
    biasOfAdapted: ["oft_only"],
  },
});

/** Options of `oft`, checked. */
export type { OftOptions };

function checkBlocks(config: PeftConfig, file: string): Record<string, never> {
  if ((config.r === 0) !== (config.oft_block_size === 0)) return {};
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "OFT takes the size of its blocks or their number, one of them 0",
    file,
    option: "oft_block_size",
    found: `oft_block_size ${config.oft_block_size}, r ${config.r}`,
  });
}

/** Number and size of the blocks that turn. */
function blocksOf(layer: LayerShape, { blockSize, blocks }: OftOptions): [number, number] {
  const width = layer.kind === "embedding" ? layer.out : layer.in;
  if (blockSize !== 0) {
    const size = nearestDivisor(width, blockSize);
    return [width / size, size];
  }
  if (blocks !== 0 && width % blocks === 0) return [blocks, width / blocks];
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "the number of blocks does not divide the layer",
    option: "oft.blocks",
    expected: `a divisor of ${width}`,
    found: String(blocks),
  });
}

/** The divisor of `width` nearest to `wanted`, the smaller of two; PEFT adjusts sizes so without a word in the file. */
function nearestDivisor(width: number, wanted: number): number {
  if (wanted >= width) return width;
  for (let away = 0; ; away++) {
    if (wanted - away >= 1 && width % (wanted - away) === 0) return wanted - away;
    if (width % (wanted + away) === 0) return wanted + away;
  }
}

function rotations(layer: LayerShape, upper: Value, given: OftOptions): Value {
  const [, size] = blocksOf(layer, given);
  const q = skewSymmetric(given.constrained ? constrain(upper, given.epsilon) : upper, size);
  return given.series ? cayleyNeumann(q, given.terms) : cayley(q);
}

/** Vectors of Q scaled so that ‖Q‖ ≤ epsilon / √blocks. Gradients pass straight through, as PEFT rewrites the parameter. */
function constrain(upper: Value, epsilon: number): Value {
  const bound = epsilon / Math.sqrt(upper.shape[0] as number);
  const norm = sqrt(mul(reduceSum(mul(upper, upper), [1], true), 2)); // every entry stands twice in Q
  const scale = min(div(bound, max(norm, 1e-30)), 1);
  return add(upper, stopGradient(sub(mul(upper, scale), upper)));
}

/** W Rᵀ; of an embedding W R with its [tokens, width]. `back`: the transpose of R instead. */
function turned(layer: LayerShape, weight: Value, turn: Value, back = false): Value {
  if (layer.kind !== "embedding") return timesBlocks(weight, turn, !back);
  return transpose(timesBlocks(transpose(weight, [1, 0]), turn, back), [1, 0]);
}
