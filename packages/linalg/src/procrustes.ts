import { shapeMismatch, type Tensor } from "@loomweight/tensor";
import { frobenius, type Matrix, readMatrix, scaled, writeMatrix } from "./core/dense.ts";
import { luFactor } from "./core/lu.ts";
import { multiply, scaleRows } from "./core/multiply.ts";
import { requireChoice } from "./core/options.ts";
import { thinSvd } from "./core/thin-svd.ts";

export interface ProcrustesOptions {
  /** "orthogonal" (default) allows reflections; "rotation" has determinant 1 (Kabsch 1976). */
  readonly kind?: "orthogonal" | "rotation";
  /** Fit a factor as well: scale a r to b. Default false. */
  readonly scale?: boolean;
}

export interface Procrustes {
  /** r [d, d], orthogonal. */
  readonly map: Matrix;
  /** The best factor; 1 where it is not asked for. */
  readonly scale: number;
  /** |scale a r - b|. */
  readonly residual: number;
}

/**
 * The orthogonal map r [d, d] with the least |a r - b| for points in the rows of a and b [n, d]: the orthogonal factor of
 * a^T b (Schönemann 1966). With fewer points than dimensions r is one of many; the residual is unique. Throws
 * `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`, `INVALID_OPTION`.
 */
export function procrustes(a: Tensor, b: Tensor, options: ProcrustesOptions = {}): Procrustes {
  const kind = requireChoice("procrustes", "kind", options.kind ?? "orthogonal", ["orthogonal", "rotation"]);
  const from = readMatrix(a, { function: "procrustes", operand: "a" });
  const to = readMatrix(b, { function: "procrustes", operand: "b" });
  if (from.rows !== to.rows || from.columns !== to.columns) {
    throw shapeMismatch({
      where: "procrustes",
      tensor: "b",
      expected: { from: "`a`", shape: a.shape },
      got: { from: "`b`", shape: b.shape },
    });
  }
  const d = from.columns;
  const [first, second] = [scaled(from), scaled(to)];
  const { values, ut, vt } = thinSvd(multiply(first.matrix, second.matrix, { transposeA: true }));
  const left = { rows: d, columns: d, values: ut };
  const signs = new Float64Array(d).fill(1);
  let map = multiply(left, { rows: d, columns: d, values: vt }, { transposeA: true });
  if (kind === "rotation" && reflects(map.values, d)) {
    signs[d - 1] = -1; // the direction that costs least
    map = multiply(left, scaleRows({ rows: d, columns: d, values: vt }, signs), { transposeA: true });
  }
  let factor = 1;
  if (options.scale === true) {
    const size = frobenius(first.matrix.values);
    const along = values.reduce((sum, value, i) => sum + signs[i] * value, 0);
    factor = size === 0 ? 0 : ((along / (size * size)) * second.scale) / first.scale;
  }
  const moved = multiply(from, map).values;
  const residual = frobenius(moved.map((value, i) => factor * value - to.values[i]));
  return { map: writeMatrix(map.values, [d, d], a.dtype as Matrix["dtype"]), scale: factor, residual };
}

/** Whether an orthogonal matrix has determinant -1. */
function reflects(values: Float64Array, n: number): boolean {
  const { lu, parity } = luFactor({ rows: n, columns: n, values });
  let sign = parity;
  for (let i = 0; i < n; i++) if (lu[i * n + i] < 0) sign = -sign;
  return sign < 0;
}
