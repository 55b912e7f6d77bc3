import { matMul, mul, reshape, slice, transpose } from "@loomweight/graph";
import { qr, svd } from "@loomweight/linalg";
import { cast, fromData, LoomweightError, type Tensor, zeros } from "@loomweight/tensor";
import type { InitContext } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import { type LowRankOptions, lowRankInit, lowRankScale } from "../maths/low-rank.ts";

/** How LoRA's factors start. `pissa` and `olora` take their product out of the base weight. */
export const lowRankStarts = ["uniform", "gaussian", "orthogonal", "mica", "eva", "pissa", "olora"] as const;
export type LowRankStart = (typeof lowRankStarts)[number];
/** Those with B A = 0, which leave the base weight as it is. */
export const plainStarts = ["uniform", "gaussian", "orthogonal", "mica", "eva"] as const;
export type PlainStart = (typeof plainStarts)[number];
/**
 * What a fresh LoRA can start from beside: `given`: the factors are the statistics A [rank, in] and B [out, rank], and
 * their product is taken out of the base weight (CorDA, LoRA-GA).
 */
export const loraStarts = [...lowRankStarts, "given"] as const;
export type LoraStart = (typeof loraStarts)[number];

/** A [rank, in] and B [out, rank], float64. */
export interface Factors {
  readonly A: Tensor<"float64">;
  readonly B: Tensor<"float64">;
}

/**
 * What an initialisation takes out of the base weight, s · B A, from the weight [out, in]; undefined where it takes
 * nothing. PiSSA (Meng et al. 2024, arXiv:2404.02948): the largest singular directions, s · B A = U_r S_r V_rᵀ. OLoRA
 * (Büyükakyüz 2024, arXiv:2406.01775): the first rank columns of Q and rows of R of the matrix as it is stored, B A, which
 * the scale multiplies. Throws `INVALID_OPTION` for a rank above the layer's and a scale that is not positive.
 */
export function takenFromBase(
  layer: LayerShape,
  weight: Tensor<"float64">,
  init: LoraStart,
  options: LowRankOptions,
): Factors | undefined {
  if (init !== "pissa" && init !== "olora") return undefined;
  const { rank } = options;
  const most = Math.min(layer.in, layer.out);
  if (rank > most) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: `${init} starts from the layer's own directions, of which there are fewer`,
      option: "rank",
      expected: `at most ${most}`,
      found: String(rank),
    });
  }
  if (init === "olora") {
    const isStoredAsIs = layer.kind !== "transposedLinear";
    const { q, r } = qr(isStoredAsIs ? weight : swapped(weight));
    const left = slice(q, { starts: [0], ends: [rank], axes: [1] }) as Tensor<"float64">;
    const right = slice(r, { starts: [0], ends: [rank], axes: [0] }) as Tensor<"float64">;
    return isStoredAsIs ? { A: right, B: left } : { A: swapped(left), B: swapped(right) };
  }
  const scale = lowRankScale(options);
  if (!(scale > 0)) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "pissa divides by the scale of the update",
      option: "alpha",
      expected: "a number above 0",
      found: String(options.alpha),
    });
  }
  const { u, singularValues, vt } = svd(weight, { rank });
  const roots = fromData(
    "float64",
    Float64Array.from(singularValues.data as Float64Array, (value) => Math.sqrt(value / scale)),
    [rank],
  );
  return {
    A: mul(vt, reshape(roots, [rank, 1])) as Tensor<"float64">,
    B: mul(u, roots) as Tensor<"float64">,
  };
}

/**
 * Fresh factors by any of the starts. `mica` and what takes from the base need `weight`; `eva` needs the statistic
 * `components` [at least rank, in]: the leading directions of the layer's inputs after their mean is taken out (layers that
 * are not linear start as usual); `given` the statistics A and B.
 */
export function startFactors(
  layer: LayerShape,
  init: LoraStart,
  options: LowRankOptions,
  context: InitContext,
): { A: Tensor; B: Tensor } {
  const { rank } = options;
  const { random } = context;
  switch (init) {
    case "uniform":
      return lowRankInit(layer, options, context);
    case "gaussian":
      return layer.kind === "embedding"
        ? { A: zeros([rank, layer.in]), B: random.normal("B", [layer.out, rank], 1 / rank) }
        : { A: random.normal("A", [rank, layer.in], 1 / rank), B: zeros([layer.out, rank]) };
    case "orthogonal":
      return orthogonalFactors(layer, rank, context);
    case "mica": {
      // The smallest left singular directions; A is zero, so B A = 0.
      const { u } = svd(weightOf(layer, init, context));
      const columns = u.shape[1];
      const smallest = slice(u, { starts: [columns - rank], ends: [columns], axes: [1] });
      return { A: zeros([rank, layer.in]), B: cast(smallest as Tensor, "float32") };
    }
    case "given":
      return {
        A: statistic("A", [rank, layer.in], init, context),
        B: statistic("B", [layer.out, rank], init, context),
      };
    case "eva": {
      if (layer.kind === "embedding" || layer.kind === "convolution") return lowRankInit(layer, options, context);
      const components = context.statistics?.components;
      if (components === undefined || components.shape[0] < rank || components.shape[1] !== layer.in) {
        throw new LoomweightError({
          code: "MISSING_OPTION",
          problem: "eva starts from the leading directions of the layer's inputs, which were not given",
          option: "init statistics.components",
          expected: `[at least ${rank}, ${layer.in}]`,
          found: components === undefined ? "nothing" : `[${components.shape}]`,
        });
      }
      const leading = slice(components, { starts: [0], ends: [rank], axes: [0] }) as Tensor;
      return { A: cast(leading, "float32"), B: zeros([layer.out, rank]) };
    }
    default: {
      const taken = takenFromBase(layer, weightOf(layer, init, context), init, options) as Factors;
      return { A: cast(taken.A, "float32"), B: cast(taken.B, "float32") };
    }
  }
}

function statistic(name: string, shape: readonly number[], init: string, { statistics }: InitContext): Tensor {
  const found = statistics?.[name];
  if (found !== undefined && `${found.shape}` === `${shape}`) return cast(found, "float32");
  throw new LoomweightError({
    code: "MISSING_OPTION",
    problem: `the start "${init}" takes its factors from the layer's statistics, which were not given`,
    option: `init statistics.${name}`,
    expected: `[${shape}]`,
    found: found === undefined ? "nothing" : `[${found.shape}]`,
  });
}

/** Random factors with B A = 0: from the even and the odd rows of one orthogonal matrix. The rank is even. */
function orthogonalFactors(layer: LayerShape, rank: number, { random }: InitContext): { A: Tensor; B: Tensor } {
  if (rank % 2 !== 0) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "the orthogonal start halves the rank",
      option: "rank",
      expected: "an even number",
      found: String(rank),
    });
  }
  const half = rank / 2;
  const { q } = qr(cast(random.normal("basis", [rank, rank], 1), "float64"));
  const rows = (first: number) => slice(q, { starts: [first], ends: [rank], axes: [0], steps: [2] });
  const normal = (name: string, shape: readonly number[]) => cast(random.normal(name, shape, 0.1), "float64");
  const A = transpose(matMul(normal("A", [layer.in, half]), rows(0)), [1, 0]);
  const B = matMul(normal("B", [layer.out, half]), rows(1));
  return { A: cast(A as Tensor, "float32"), B: cast(B as Tensor, "float32") };
}

function weightOf(layer: LayerShape, init: string, { weight }: InitContext): Tensor<"float64"> {
  if (weight !== undefined) return cast(weight, "float64");
  throw new LoomweightError({
    code: "MISSING_OPTION",
    problem: `${init} starts from the layer's weight, which was not given`,
    option: "init weight",
    expected: `a weight [${layer.out}, ${layer.in}]`,
  });
}

function swapped(matrix: Tensor): Tensor<"float64"> {
  return transpose(matrix, [1, 0]) as Tensor<"float64">;
}
