import { add, matMul, mul, reshape, type Value } from "@loomweight/graph";
import { boolean, finite, integer, invalidOption, type OptionValues, type Tensor, zeros } from "@loomweight/tensor";
import { defineAdapter, type ParamDim, type ParamShape, type Params } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { forwardPlus, kaimingUniform } from "../maths/update.ts";
import { dropout, note, option } from "../peft/field.ts";
import { tuckerProduct } from "./loha.ts";

const options = {
  rank: integer(8, "rank of a factor that is decomposed; factors no larger than twice the rank are kept whole", {
    min: 1,
  }),
  alpha: finite(8, "the update is scaled by alpha / rank"),
  decomposeFirst: boolean(false, "the smaller factor may be decomposed too"),
  factor: integer(-1, "size of the first factor's sides; -1: near the square root", { min: -1 }),
  tuckerKernels: boolean(false, "convolutions: kernels are factored too, by a core [rank, rank, ...kernel]"),
};
type LokrOptions = OptionValues<typeof options>;
type LokrParams = "first" | "firstA" | "firstB" | "second" | "secondA" | "secondB" | "secondCore";

/**
 * LoKr: W′ = W + alpha / rank · first ⊗ second, a Kronecker product: first [a, b], second [c, d] with a c = out and
 * b d = in (of a convolution d counts channels; the kernel belongs to second). A factor that is large beside the rank
 * is itself a product A B.
 * Source: Yeh et al. 2024 (LyCORIS), arXiv:2309.14859, §3; Edalati et al. 2022 (KronA), arXiv:2212.10650. As PEFT
 * computes it: a whole second factor of a one-dimensional convolution is multiplied the way `torch.kron` aligns axes.
 */
export const lokr = defineAdapter({
  name: "lokr",
  source: "arXiv:2309.14859",
  scope: "layer",
  kinds: ["linear", "convolution"],
  options,
  params: (layer, given): { readonly [K in LokrParams]?: ParamShape } => {
    const { a, b, c, d, kernel, wholeFirst, wholeSecond, core, aligned } = parts(layer, given);
    const { rank } = given;
    const rows: ParamDim = aligned ? { along: "out", per: c } : a;
    const first: Partial<Record<LokrParams, ParamShape>> = wholeFirst
      ? { first: [rows, b] }
      : { firstA: [rows, rank], firstB: [rank, b] };
    if (wholeSecond) return { ...first, second: [c, d, ...kernel] };
    if (core !== undefined)
      return { ...first, secondCore: [rank, rank, ...core], secondA: [rank, c], secondB: [rank, d] };
    return { ...first, secondA: [c, rank], secondB: [rank, d * product(kernel)] };
  },
  init: (layer, given, { random }) => {
    const { a, b, c, d, kernel, wholeFirst, wholeSecond, core } = parts(layer, given);
    const { rank } = given;
    const fresh: Record<string, Tensor> = {};
    const draw = (name: LokrParams, shape: readonly number[], fanIn: number) => {
      fresh[name] = kaimingUniform(random, name, shape, fanIn);
    };
    // zero, so the product is zero
    if (wholeFirst) fresh.first = zeros([a, b]);
    else {
      fresh.firstA = zeros([a, rank]);
      draw("firstB", [rank, b], b);
    }
    if (wholeSecond) draw("second", [c, d, ...kernel], d * product(kernel));
    else if (core !== undefined) {
      draw("secondCore", [rank, rank, ...core], rank * product(core));
      draw("secondA", [rank, c], c);
      draw("secondB", [rank, d], d);
    } else {
      draw("secondA", [c, rank], rank);
      draw("secondB", [rank, d * product(kernel)], d * product(kernel));
    }
    return fresh;
  },
  apply: (layer, params, x, given) => forwardPlus(layer, update(layer, params, given), x),
  weight: (layer, params, given) => add(layer.weight, update(layer, params, given)),
  additive: true,
  tiling: (layer, given) => {
    const { c, aligned } = parts(layer, given);
    return aligned ? { out: c } : {};
  },
  files: {
    peftTypes: ["LOKR"],
    fields: {
      alpha: option(8),
      alpha_pattern: option({}),
      decompose_both: option(false),
      decompose_factor: option(-1),
      init_weights: note(true),
      module_dropout: dropout,
      r: option(8),
      rank_dropout: dropout,
      rank_dropout_scale: note(false),
      rank_pattern: option({}),
      use_effective_conv2d: option(false),
    },
    optionFields: {
      rank: "r",
      alpha: "alpha",
      decomposeFirst: "decompose_both",
      factor: "decompose_factor",
      tuckerKernels: "use_effective_conv2d",
    },
    patterns: { rank_pattern: "rank", alpha_pattern: "alpha" },
    suffixes: {
      lokr_w1: { param: "first" },
      lokr_w1_a: { param: "firstA" },
      lokr_w1_b: { param: "firstB" },
      lokr_w2: { param: "second" },
      lokr_w2_a: { param: "secondA" },
      lokr_w2_b: { param: "secondB" },
      lokr_t2: { param: "secondCore" },
    },
    biasOfAdapted: [],
  },
});

/** Options of `lokr`, checked. */
export type { LokrOptions };

const product = (sizes: readonly number[]) => sizes.reduce((all, size) => all * size, 1);

interface Parts {
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: number;
  readonly kernel: readonly number[];
  readonly wholeFirst: boolean;
  readonly wholeSecond: boolean;
  /** Kernel axes of the core; undefined: none. PEFT keeps two of them, also for one-dimensional convolutions. */
  readonly core: readonly number[] | undefined;
  /** Whether rows of the product are rows of the factors. */
  readonly aligned: boolean;
}

/** How a layer is factored: PEFT's rules, from the options alone. `layer.storedShape` is that of the whole layer. */
function parts(layer: LayerShape, { rank, factor, decomposeFirst, tuckerKernels }: LokrOptions): Parts {
  if (factor === 0) throw invalidOption({ option: "lokr.factor" }, factor, "-1 or at least 1");
  const [out, channels] = layer.storedShape;
  const kernel = layer.kind === "convolution" ? layer.storedShape.slice(2) : [];
  const [a, c] = factorize(out, factor);
  const [b, d] = factorize(channels, factor);
  const wholeSecond = rank >= Math.max(c, d) / 2;
  const hasCore = !wholeSecond && tuckerKernels && kernel.some((size) => size !== 1);
  return {
    ...{ a, b, c, d, kernel, wholeSecond },
    wholeFirst: !(decomposeFirst && rank < Math.max(a, b) / 2),
    core: hasCore ? (kernel.length === 1 ? [...kernel, 1] : kernel) : undefined,
    aligned: !(wholeSecond && kernel.length === 1),
  };
}

/** Two numbers whose product is `size`: (factor, size / factor) where that divides; else a near-square pair in order. */
export function factorize(size: number, factor: number): [number, number] {
  if (factor > 0 && size % factor === 0) return [factor, size / factor];
  const limit = factor === -1 ? size : factor;
  let [m, n] = [1, size];
  for (let next = 2; m < n && next <= limit; next++) {
    if (size % next === 0) [m, n] = [next, size / next];
  }
  return m > n ? [n, m] : [m, n];
}

function update(layer: LayerShape, params: Params<LokrParams>, given: LokrOptions): Value {
  const { b, c, d, kernel, wholeFirst, wholeSecond, core, aligned } = parts(layer, given);
  const first = mul(wholeFirst ? params.first : matMul(params.firstA, params.firstB), given.alpha / given.rank);
  const rows = first.shape[0] as number;
  const width = d * product(kernel);
  if (!aligned) {
    // torch.kron pads the axes of a matrix in front: [1, a, b] ⊗ [c, d, k] = [c, a d, b k], read as [out, in, k].
    const spread = mul(reshape(first, [1, rows, 1, b, 1]), reshape(params.second, [c, 1, d, 1, kernel[0]]));
    return reshape(spread, [layer.out, layer.in]);
  }
  const second = wholeSecond
    ? reshape(params.second, [c, width])
    : core !== undefined
      ? tuckerProduct(params.secondCore, params.secondA, params.secondB)
      : matMul(params.secondA, params.secondB);
  return kronecker(first, second);
}

/** first [a, b] ⊗ second [c, e] = [a c, b e]. */
export function kronecker(first: Value, second: Value): Value {
  const [[a, b], [c, e]] = [first.shape, second.shape] as [number, number][];
  const all = mul(reshape(first, [a, 1, b, 1]), reshape(second, [1, c, 1, e]));
  return reshape(all, [a * c, b * e]);
}
