import { boolean, finite } from "@loomweight/tensor";
import { arcFactors, sineOfCosine } from "../arc.ts";
import { defineMergeMethod } from "../define.ts";
import { numberText } from "../formula.ts";
import { add, elementwise, type LazyTensor, weightedSum } from "../lazy/lazy-tensor.ts";
import { gram, streamRows } from "../lazy/reduce.ts";
import { taskVector } from "../task-vector.ts";

/**
 * NuSLERP: slerp of two models by their weights, t = w₂ / (w₁ + w₂), over the whole tensor, each row or each column;
 * with a base, of their task vectors, added to it. A line where |sin θ| < 1e-8. float64, rounded once.
 * Source: mergekit. `nuslerpRowWise` there means vectors along the first axis, that is columns.
 */
export const nuslerp = defineMergeMethod({
  name: "nuslerp",
  source: "mergekit",
  summary: "Slerp of two models, or of their task vectors, by weights; whole, per row or per column.",
  formula: ({ base, models, options }) => {
    const [first, second] = models.map((model) => Number(model.options.weight));
    const t = numberText(Math.abs(first + second) < 1e-6 ? 0.5 : second / (first + second));
    const [a, b] = models.map(({ name }) => (base === undefined ? name : `${name} − ${base}`));
    const along = options.nuslerpFlatten ? "the whole tensor" : options.nuslerpRowWise ? "each column" : "each row";
    return `${base === undefined ? "" : `${base} + `}slerp(${a}, ${b}; t = ${t}) over ${along}`;
  },
  needs: { base: "optional", models: { min: 2, max: 2 } },
  inputOptions: { weight: finite(undefined, "share of this model") },
  options: {
    nuslerpFlatten: boolean(true, "one angle for the whole tensor"),
    nuslerpRowWise: boolean(false, "without flatten: one angle per column (the first axis) instead of per row"),
  },
  unequalShapes: "common",
  async merge({ base, models }, { nuslerpFlatten, nuslerpRowWise }) {
    const [first, second] = models.map(({ options }) => options.weight);
    const sum = first + second;
    const t = Math.abs(sum) < 1e-6 ? 0.5 : second / sum;
    const vectors = models.map(({ tensor }) => (base === undefined ? tensor : taskVector(tensor, base)));
    const merged = await interpolate(
      vectors as [LazyTensor, LazyTensor],
      t,
      vectorsOf(vectors[0], nuslerpFlatten, nuslerpRowWise),
    );
    return base === undefined ? merged : add(base, merged);
  },
});

/** How a tensor falls apart into vectors: how many, and which one an element belongs to. */
interface Vectors {
  readonly count: number;
  readonly rowLength: number;
  readonly along: "whole" | "row" | "column";
}

function vectorsOf({ shape, size }: LazyTensor, flatten: boolean, byColumn: boolean): Vectors {
  if (flatten || shape.length < 2) return { count: 1, rowLength: size, along: "whole" };
  if (!byColumn) {
    const rowLength = shape[shape.length - 1];
    return { count: size / rowLength, rowLength, along: "row" };
  }
  return { count: size / shape[0], rowLength: size / shape[0], along: "column" };
}

async function interpolate(
  pair: readonly [LazyTensor, LazyTensor],
  t: number,
  { count, rowLength, along }: Vectors,
): Promise<LazyTensor> {
  if (pair[0].size === 0) return pair[0];
  if (along === "whole") {
    const [[aa, ab], [, bb]] = await gram(pair);
    const [ofFirst, ofSecond] = factors(aa, bb, ab, t);
    return weightedSum([
      { tensor: pair[0], weight: ofFirst },
      { tensor: pair[1], weight: ofSecond },
    ]);
  }
  const [aa, bb, ab] = [0, 1, 2].map(() => new Float64Array(count));
  const { kernels } = pair[0].engine;
  await streamRows(pair, rowLength, ([a, b], row, column) => {
    if (along === "row") {
      aa[row] += kernels.dot(a, a);
      bb[row] += kernels.dot(b, b);
      ab[row] += kernels.dot(a, b);
      return;
    }
    for (let i = 0; i < a.length; i++) {
      aa[column + i] += a[i] * a[i];
      bb[column + i] += b[i] * b[i];
      ab[column + i] += a[i] * b[i];
    }
  });
  const pairs = Array.from(aa, (_, vector) => factors(aa[vector], bb[vector], ab[vector], t));
  const ofFirst = Float64Array.from(pairs, ([factor]) => factor);
  const ofSecond = Float64Array.from(pairs, ([, factor]) => factor);
  return elementwise(pair, (_, out, [a, b], start) => {
    for (let i = 0; i < out.length; i++) {
      const at = start + i;
      const vector = along === "row" ? Math.floor(at / rowLength) : at % rowLength;
      out[i] = ofFirst[vector] * a[i] + ofSecond[vector] * b[i];
    }
  });
}

function factors(aa: number, bb: number, product: number, t: number): readonly [number, number] {
  const norms = [Math.max(Math.sqrt(aa), 1e-7), Math.max(Math.sqrt(bb), 1e-7)] as const;
  const isLine = (cosine: number) => sineOfCosine(Math.max(-1, Math.min(1, cosine))) < 1e-8;
  return arcFactors({ norms, product, t, isLine });
}
