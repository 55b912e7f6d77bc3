import { createRandom } from "@loomweight/tensor";
import { type Dense, frobenius, transposed } from "./dense.ts";
import { multiply } from "./multiply.ts";
import { requireWhole } from "./options.ts";
import { thinQr } from "./qr.ts";
import { canonicalRowsInto } from "./signs.ts";
import { thinSvd } from "./thin-svd.ts";

export interface RandomizedSvdOptions {
  /** How many singular values and vectors. */
  readonly rank: number;
  /** Directions that are sketched beyond `rank`; default 10. */
  readonly oversampling?: number;
  /** Rounds of a^T a over the sketch: more for singular values that fall slowly. Default 2. */
  readonly powerIterations?: number;
  /** Default 0. The same seed gives the same result. */
  readonly seed?: number;
}

/** A product that the algorithm asks for: a x, or a^T x where `transpose`. */
export interface ProductRequest {
  readonly transpose: boolean;
  readonly x: Dense;
}

/** Rows of ut [rank, m] and vt [rank, n] are the vectors, canonical. */
export interface Approximation {
  readonly values: Float64Array;
  readonly ut: Float64Array;
  readonly vt: Float64Array;
  /** Largest singular value of the sketch that was left out; 0 where there is none. */
  readonly next: number;
  /** Bound on |a - q q^T a| (spectral), q the sketched basis. */
  readonly outside: number;
}

const name = "randomizedSvd";

/** Most columns that `randomizedSteps` asks to multiply at a time. Throws `INVALID_OPTION`. */
export function sketchWidth(m: number, n: number, options: RandomizedSvdOptions): number {
  return checkedOptions(m, n, options).width + probes;
}

function checkedOptions(m: number, n: number, options: RandomizedSvdOptions) {
  const most = Math.min(m, n);
  const rank = requireWhole(name, "rank", options?.rank, 1, most);
  const oversampling = requireWhole(name, "oversampling", options.oversampling ?? 10, 0, Number.MAX_SAFE_INTEGER);
  const powerIterations = requireWhole(name, "powerIterations", options.powerIterations ?? 2, 0, 100);
  return { rank, powerIterations, width: Math.min(most, rank + oversampling) };
}

/** Vectors that the error is measured with: the bound fails with probability 2^-this. */
const probes = 20;

/**
 * Randomized SVD (Halko, Martinsson, Tropp 2011): algorithms 4.4 (range finder with orthonormalised power iterations)
 * and 5.1, error bound of lemma 4.1 with vectors of its own. Asks for products with a [m, n] and is given them, so that
 * one text serves every engine: `next(product)`.
 */
export function* randomizedSteps(
  m: number,
  n: number,
  options: RandomizedSvdOptions,
): Generator<ProductRequest, Approximation, Dense> {
  const { rank, width, powerIterations } = checkedOptions(m, n, options);
  const random = createRandom(options.seed ?? 0, name);
  const sketch = new Float64Array(n * (width + probes));
  random.normalsInto(sketch);
  const product = yield { transpose: false, x: { rows: n, columns: width + probes, values: sketch } };
  const [first, probe] = splitColumns(product, width);
  let y = first;
  for (let i = 0; i < powerIterations; i++) {
    const z = yield { transpose: true, x: orthonormal(y) };
    y = yield { transpose: false, x: orthonormal(z) };
  }
  const q = orthonormal(y);
  const projected = yield { transpose: true, x: q }; // (q^T a)^T, [n, width]
  const { values, ut: rightRows, vt: inner } = thinSvd(projected, rank);
  const ut = multiply({ rows: rank, columns: width, values: inner }, q, { transposeB: true }).values;
  canonicalRowsInto(ut, m, rightRows);
  return {
    values: values.slice(0, rank),
    ut,
    vt: rightRows,
    next: rank < width ? values[rank] : 0,
    outside: width === Math.min(m, n) ? 0 : outsideBound(q, probe),
  };
}

/** 2 sqrt(2 / pi) max |(I - q q^T) a w| over the probes w. */
function outsideBound(q: Dense, probe: Dense): number {
  const inside = multiply(q, multiply(q, probe, { transposeA: true })).values;
  const rest = transposed({ ...probe, values: probe.values.map((value, i) => value - inside[i]) });
  let largest = 0;
  for (let i = 0; i < probes; i++) {
    largest = Math.max(largest, frobenius(rest.values.subarray(i * rest.columns, (i + 1) * rest.columns)));
  }
  return 2 * Math.sqrt(2 / Math.PI) * largest;
}

function splitColumns({ rows, columns, values }: Dense, width: number): [Dense, Dense] {
  const parts = [new Float64Array(rows * width), new Float64Array(rows * (columns - width))] as const;
  for (let i = 0; i < rows; i++) {
    parts[0].set(values.subarray(i * columns, i * columns + width), i * width);
    parts[1].set(values.subarray(i * columns + width, (i + 1) * columns), i * (columns - width));
  }
  return [
    { rows, columns: width, values: parts[0] },
    { rows, columns: columns - width, values: parts[1] },
  ];
}

/** An orthonormal basis of the columns [rows, k], k <= rows. */
function orthonormal(y: Dense): Dense {
  const largest = frobenius(y.values);
  const near = largest === 0 ? y : { ...y, values: y.values.map((value) => value / largest) };
  return transposed({ rows: y.columns, columns: y.rows, values: thinQr(near).qt });
}
