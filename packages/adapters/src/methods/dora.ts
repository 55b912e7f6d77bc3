import {
  add,
  div,
  matMul,
  max,
  mul,
  reduceSum,
  reduceSumSquare,
  reshape,
  sqrt,
  stopGradient,
  sub,
  transpose,
  type Value,
} from "@loomweight/graph";
import { boolean, choice, LoomweightError, type OptionValues, type Tensor } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import { plainStarts, startFactors } from "../initialise/low-rank-start.ts";
import type { LayerShape } from "../layer.ts";
import {
  addLowRank,
  lowRankFileShape,
  lowRankForward,
  lowRankOptions,
  lowRankScale,
  lowRankShapes,
} from "../maths/low-rank.ts";
import {
  loraCompanions,
  loraFields,
  lowRankFields,
  lowRankSuffixes,
  requirePlainStart,
  startWarnings,
  writtenStart,
} from "../peft/lora-files.ts";

/** Norms below this count as this: a row of zeros stays zero instead of becoming NaN. */
const smallestNorm = 1e-12;

const options = {
  ...lowRankOptions,
  init: choice(plainStarts, "uniform", "how the factors start"),
  detachNorm: boolean(true, "training takes the norm as a constant (§4.3 of the paper); files do not hold it"),
};

/**
 * DoRA: V = W + s · B A [out, in]; W′[o, :] = magnitude[o] · V[o, :] / ‖V[o, :]‖₂. The bias is not scaled. An embedding
 * is [in, out] = [tokens, width], so its norm runs over the vocabulary for each dimension.
 * Source: Liu et al. 2024, arXiv:2402.09353, §4; formulas as PEFT computes them (the paper's columns are rows here).
 * In graphs the norm comes from the factors (arXiv:2603.22276): no [out, in] matrix is formed.
 * Differs: norms are clamped at 1e-12 (PEFT divides by zero); float64 throughout, one rounding.
 */
export const dora = defineAdapter({
  name: "dora",
  source: "arXiv:2402.09353",
  scope: "layer",
  kinds: ["linear", "transposedLinear", "embedding", "convolution"],
  options,
  params: (layer, options) => ({ ...lowRankShapes(options, layer), magnitude: ["out"] }),
  init: (layer, options, context) => {
    const factors = startFactors(layer, options.init, options, context); // B A = 0, so V = W
    return { ...factors, magnitude: rowNorms(layer, context.weight) };
  },
  apply: (layer, { A, B, magnitude }, x, options) => {
    const scale = lowRankScale(options);
    const exact = squaresToNorm(factoredSquares(layer.base, { A, B }, scale));
    const norm = options.detachNorm ? stopGradient(exact) : exact;
    const gain = div(reshape(magnitude, [layer.out, 1]), norm);
    const own = layer.operation(x, layer.storedWeight);
    // The small factor carries scale and gain: the update needs no pass of its own over the outputs.
    const update = lowRankForward(layer, { A, B: mul(B, mul(gain, scale)) }, x, options);
    // (gain − 1) · own + update: near gain = 1 the plain product would cancel.
    const beyond = layer.perOutput(reshape(sub(gain, 1), [layer.out]));
    return add(layer.forward(x), add(mul(beyond, own), update));
  },
  sums: (layer, { A, B }, options) => ({
    squares: squaresOf(addLowRank(layer.base, { A, B }, lowRankScale(options))),
  }),
  weight: (layer, { A, B, magnitude }, options, { squares }) =>
    mul(
      addLowRank(layer.weight, { A, B }, lowRankScale(options)),
      div(reshape(magnitude, [-1, 1]), squaresToNorm(squares)),
    ),
  tiling: () => ({ out: 1, in: 1 }),
  files: {
    peftTypes: ["LORA"],
    applies: (config) => config.use_dora === true,
    fields: loraFields,
    optionFields: { ...lowRankFields, init: "init_lora_weights" },
    readOptions: (config, file) => {
      if (config.lora_bias === true) {
        throw new LoomweightError({
          code: "UNSUPPORTED_ADAPTER",
          problem: "DoRA has no bias on B",
          file,
          option: "lora_bias",
          fix: "Set lora_bias or use_dora to false.",
        });
      }
      return { init: requirePlainStart(config, file, "DoRA") };
    },
    warnings: startWarnings,
    writeOptions: ({ init }) => ({ use_dora: true, init_lora_weights: writtenStart(init) }),
    patterns: { rank_pattern: "rank", alpha_pattern: "alpha" },
    suffixes: {
      ...lowRankSuffixes,
      lora_magnitude_vector: { param: "magnitude" },
      "lora_magnitude_vector.weight": { param: "magnitude" }, // as some versions of PEFT wrote it
    },
    companions: loraCompanions,
    fileShape: (param, layer, options) =>
      param === "magnitude" && layer.kind === "convolution"
        ? [1, layer.out, ...layer.storedShape.slice(2).map(() => 1)]
        : lowRankFileShape(param, layer, options),
    biasOfAdapted: ["lora_only"],
  },
});

/** Options of `dora`, checked. */
export type DoraOptions = OptionValues<typeof dora.options>;

/**
 * ‖W + s · B A‖² by rows, [out, 1], from products no larger than the factors: with U = W Aᵀ [out, rank] and G = A Aᵀ
 * [rank, rank] it is Σ W² + 2 s Σ B ∘ U + s² Σ (B G) ∘ B, not below 0. Where B A cancels W to less than 1e-8 of it (in
 * float64; 3e-4 in float32) no digit is right. Chen et al. 2026, arXiv:2603.22276.
 */
export function factoredSquares(
  weight: Value,
  { A, B }: { readonly A: Value; readonly B: Value },
  scale: number,
): Value {
  const squares = reduceSumSquare(weight, [1], true);
  if (scale === 0) return squares;
  const along = transpose(A, [1, 0]);
  const cross = reduceSum(mul(B, matMul(weight, along)), [1], true);
  const gram = reduceSum(mul(matMul(B, matMul(A, along)), B), [1], true);
  return max(add(squares, add(mul(cross, 2 * scale), mul(gram, scale * scale))), 0);
}

/** Σ over `in` of v², [out, 1]. */
function squaresOf(v: Value): Value {
  return reduceSum(mul(v, v), [1], true);
}

function squaresToNorm(squares: Value): Value {
  return max(sqrt(squares), smallestNorm);
}

function rowNorms(layer: LayerShape, weight: Tensor | undefined): Tensor {
  if (weight === undefined) {
    throw new LoomweightError({
      code: "MISSING_OPTION",
      problem: "dora starts from the norms of the layer's weight, which was not given",
      option: "init weight",
      expected: `a weight [${layer.out}, ${layer.in}]`,
    });
  }
  return reshape(sqrt(squaresOf(weight)), [layer.out]) as Tensor;
}
