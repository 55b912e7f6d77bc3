import { add, matMul, mul, reshape, transpose, type Value } from "@loomweight/graph";
import { boolean, finite, integer, type OptionValues, type Tensor, zeros } from "@loomweight/tensor";
import { defineAdapter, type ParamShape, type Params } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { forwardPlus, kaimingUniform } from "../maths/update.ts";
import { dropout, note, option } from "../peft/field.ts";

const options = {
  rank: integer(8, "rank of each of the two factors; the update's rank is up to its square", { min: 1 }),
  alpha: finite(8, "the update is scaled by alpha / rank"),
  tuckerKernels: boolean(false, "convolutions: kernels are factored too, by a core [rank, rank, ...kernel]"),
};
type LohaOptions = OptionValues<typeof options>;
type LohaParams = "firstA" | "firstB" | "secondA" | "secondB" | "firstCore" | "secondCore";

/**
 * LoHa: W′ = W + alpha / rank · (firstA firstB) ∘ (secondA secondB) for W [out, in], factors A [out, rank] and B
 * [rank, in]; ∘ multiplies entry by entry, so that 2 rank (in + out) numbers reach rank². Convolutions see W as
 * [out, channels · kernel]; with `tuckerKernels` (not for 1×1) a factor pair is a Tucker decomposition: A [rank, out],
 * B [rank, channels] and a core [rank, rank, ...kernel].
 * Source: Hyeon-Woo et al. 2022 (FedPara), arXiv:2108.06098, §2; for diffusion models Yeh et al. 2024, arXiv:2309.14859.
 * As PEFT computes it.
 */
export const loha = defineAdapter({
  name: "loha",
  source: "arXiv:2108.06098",
  scope: "layer",
  kinds: ["linear", "convolution"],
  options,
  params: (layer, given): { readonly [K in LohaParams]?: ParamShape } => {
    const { rank } = given;
    if (!hasCore(layer, given)) {
      const [A, B]: ParamShape[] = [
        ["out", rank],
        [rank, "in"],
      ];
      return { firstA: A, firstB: B, secondA: A, secondB: B };
    }
    const core = [rank, rank, ...coreKernel(layer)];
    const [A, B]: ParamShape[] = [
      [rank, "out"],
      [rank, layer.storedShape[1]],
    ];
    return { firstA: A, firstB: B, firstCore: core, secondA: A, secondB: B, secondCore: core };
  },
  init: (layer, given, { random }) => {
    const { rank } = given;
    const fresh: Record<string, Tensor> = {};
    const draw = (name: string, shape: readonly number[], fanIn: number) => {
      fresh[name] = kaimingUniform(random, name, shape, fanIn);
    };
    if (hasCore(layer, given)) {
      const kernel = coreKernel(layer);
      const channels = layer.storedShape[1];
      const coreFan = rank * kernel.reduce((product, size) => product * size, 1);
      draw("firstCore", [rank, rank, ...kernel], coreFan);
      draw("secondCore", [rank, rank, ...kernel], coreFan);
      draw("firstA", [rank, layer.out], layer.out);
      draw("firstB", [rank, channels], channels);
      draw("secondA", [rank, layer.out], layer.out);
      fresh.secondB = zeros([rank, channels]); // zero, so the product is zero
      return fresh;
    }
    draw("firstA", [layer.out, rank], rank);
    draw("firstB", [rank, layer.in], layer.in);
    draw("secondA", [layer.out, rank], rank);
    fresh.secondB = zeros([rank, layer.in]);
    return fresh;
  },
  apply: (layer, params, x, given) => forwardPlus(layer, update(layer, params, given), x),
  weight: (layer, params, given) => add(layer.weight, update(layer, params, given)),
  additive: true,
  tiling: (layer, given) => (hasCore(layer, given) ? { out: 1 } : { out: 1, in: 1 }),
  files: {
    peftTypes: ["LOHA"],
    fields: {
      alpha: option(8),
      alpha_pattern: option({}),
      init_weights: note(true),
      module_dropout: dropout,
      r: option(8),
      rank_dropout: dropout,
      rank_pattern: option({}),
      use_effective_conv2d: option(false),
    },
    optionFields: { rank: "r", alpha: "alpha", tuckerKernels: "use_effective_conv2d" },
    patterns: { rank_pattern: "rank", alpha_pattern: "alpha" },
    suffixes: {
      hada_w1_a: { param: "firstA" },
      hada_w1_b: { param: "firstB" },
      hada_w2_a: { param: "secondA" },
      hada_w2_b: { param: "secondB" },
      hada_t1: { param: "firstCore" },
      hada_t2: { param: "secondCore" },
    },
    biasOfAdapted: [],
  },
});

/** Options of `loha`, checked. */
export type { LohaOptions };

/** Whether kernels are factored: where asked for and where there is a kernel. */
function hasCore(layer: LayerShape, { tuckerKernels }: LohaOptions): boolean {
  return tuckerKernels && layer.kind === "convolution" && layer.storedShape.slice(2).some((size) => size !== 1);
}

/** PEFT keeps two kernel axes in the core, also for one-dimensional convolutions. */
function coreKernel(layer: LayerShape): number[] {
  const kernel = layer.storedShape.slice(2);
  return kernel.length === 1 ? [...kernel, 1] : kernel;
}

function update(layer: LayerShape, params: Params<LohaParams>, given: LohaOptions): Value {
  const factor = (A: Value, B: Value, core: Value) =>
    hasCore(layer, given) ? tuckerProduct(core, A, B) : matMul(A, B);
  const first = factor(params.firstA, params.firstB, params.firstCore);
  const second = factor(params.secondA, params.secondB, params.secondCore);
  return mul(mul(first, given.alpha / given.rank), second);
}

/** Σ_ij core[i, j, ...k] A[i, o] B[j, c], as [out, channels · kernel]; A [rank, out], B [rank, channels]. */
export function tuckerProduct(core: Value, A: Value, B: Value): Value {
  const rank = core.shape[0] as number;
  const kernel = (core.shape.slice(2) as number[]).reduce((product, size) => product * size, 1);
  const [out, channels] = [A.shape[1] as number, B.shape[1] as number];
  const inner = matMul(transpose(reshape(core, [rank, rank, kernel]), [0, 2, 1]), B); // [i, kernel, channels]
  const outer = matMul(transpose(A, [1, 0]), reshape(inner, [rank, kernel * channels]));
  return reshape(transpose(reshape(outer, [out, kernel, channels]), [0, 2, 1]), [out, channels * kernel]);
}
