import {
  add,
  concat,
  div,
  matMul,
  mul,
  reduceSum,
  reshape,
  sign,
  slice,
  sqrt,
  sub,
  transpose,
  type Value,
} from "@loomweight/graph";
import { constantLike } from "./update.ts";

/**
 * Q [rows, columns] of the QR factorisation of a tall matrix by Householder reflections, with LAPACK's signs: the
 * diagonal of R has the sign opposite to the entry it replaces (the last of a square matrix stays). Works in a graph,
 * about ten nodes a column.
 */
export function householderQ(matrix: Value): Value {
  const [rows, columns] = matrix.shape as [number, number];
  const zeros = (count: number) => constantLike(matrix, new Float64Array(count), [count, 1]);
  const directions: Value[] = [];
  let rest = matrix;
  for (let j = 0; j < Math.min(columns, rows - 1); j++) {
    const column = slice(rest, { starts: [j, j], ends: [rows, j + 1], axes: [0, 1] });
    const first = slice(column, { starts: [0], ends: [1], axes: [0] });
    const side = sign(add(sign(first), 0.5)); // 1 for zero, as LAPACK
    const norm = sqrt(reduceSum(mul(column, column), [0], true));
    const longer = add(first, mul(side, norm));
    const tail = rows - j === 1 ? [] : [slice(column, { starts: [1], ends: [rows - j], axes: [0] })];
    const own = concat([longer, ...tail], 0);
    const unit = div(own, sqrt(reduceSum(mul(own, own), [0], true)));
    const direction = j === 0 ? unit : concat([zeros(j), unit], 0);
    directions.push(direction);
    rest = reflected(rest, direction);
  }
  const start = new Float64Array(rows * columns);
  for (let i = 0; i < columns; i++) start[i * columns + i] = 1;
  return directions.reduceRight<Value>(reflected, constantLike(matrix, start, [rows, columns]));
}

/** x − 2 u uᵀ x. */
function reflected(x: Value, u: Value): Value {
  const rows = u.shape[0] as number;
  return sub(x, matMul(mul(u, 2), matMul(reshape(transpose(u, [1, 0]), [1, rows]), x)));
}
