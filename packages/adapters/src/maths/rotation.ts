import {
  add,
  concat,
  customGradient,
  div,
  gather,
  matMul,
  mul,
  neg,
  reshape,
  slice,
  sub,
  transpose,
  type Value,
} from "@loomweight/graph";
import { fromData } from "@loomweight/tensor";
import { constantLike } from "./update.ts";

/** The identity [size, size] in the dtype of `like`. */
export function identityLike(like: Value, size: number): Value {
  const values = new Float64Array(size * size);
  for (let i = 0; i < size; i++) values[i * (size + 1)] = 1;
  return constantLike(like, values, [size, size]);
}

/** Skew-symmetric matrices [blocks, size, size] whose strict upper triangles, row by row, are `vectors` [blocks, size (size − 1) / 2]. */
export function skewSymmetric(vectors: Value, size: number): Value {
  const blocks = vectors.shape[0] as number;
  if (size === 1) return constantLike(vectors, new Float64Array(blocks), [blocks, 1, 1]);
  const from = new BigInt64Array(size * size);
  const signs = new Float64Array(size * size);
  let entry = 0n;
  for (let i = 0; i < size; i++) {
    for (let j = i + 1; j < size; j++) {
      from[i * size + j] = entry;
      from[j * size + i] = entry++;
      signs[i * size + j] = 1;
      signs[j * size + i] = -1;
    }
  }
  return mul(gather(vectors, fromData("int64", from, [size, size]), 1), constantLike(vectors, signs, [size, size]));
}

/** (I − Q)(I + Q)⁻¹ for skew-symmetric Q [blocks, size, size]: rotations. Arthur Cayley 1846. */
export function cayley(q: Value): Value {
  const identity = identityLike(q, q.shape[1] as number);
  return matMul(sub(identity, q), inverse(add(identity, q)));
}

/**
 * I + 2 Q + 2 Q² + … + Qⁿ, n = max(terms − 1, 3 from three terms on): the Neumann series of Cayley's transform cut off
 * as PEFT cuts it; only near a rotation.
 */
export function cayleyNeumann(q: Value, terms: number): Value {
  let sum: Value = identityLike(q, q.shape[1] as number);
  if (terms < 2) return add(sum, mul(q, 0));
  sum = add(sum, mul(q, 2));
  if (terms === 2) return sum;
  let power = matMul(q, q);
  sum = add(sum, mul(power, 2));
  for (let each = 3; each < terms - 1; each++) {
    power = matMul(power, q);
    sum = add(sum, mul(power, 2));
  }
  return add(sum, matMul(power, q));
}

/**
 * Inverses of matrices [blocks, size, size] by halves, without exchange of rows: for matrices whose leading parts are
 * well conditioned, as those of I + Q with a skew-symmetric Q are.
 */
export function inverse(matrices: Value): Value {
  return customGradient([matrices], inverseByHalves, (upstream, _inputs, result) => {
    const turned = transpose(result, [0, 2, 1]);
    return [neg(matMul(matMul(turned, upstream), turned))];
  });
}

function inverseByHalves(m: Value): Value {
  const size = m.shape[1] as number;
  if (size === 1) return div(1, m);
  const half = size >> 1;
  const part = (rows: [number, number], columns: [number, number]) =>
    slice(m, { starts: [rows[0], columns[0]], ends: [rows[1], columns[1]], axes: [1, 2] });
  const [low, high]: [number, number][] = [
    [0, half],
    [half, size],
  ];
  const [b, c] = [part(low, high), part(high, low)];
  const first = inverseByHalves(part(low, low));
  const left = matMul(c, first);
  const right = matMul(first, b);
  const rest = inverseByHalves(sub(part(high, high), matMul(left, b)));
  const corner = matMul(right, rest);
  return concat(
    [concat([add(first, matMul(corner, left)), neg(corner)], 2), concat([neg(matMul(rest, left)), rest], 2)],
    1,
  );
}

/**
 * `x` [..., rows, blocks · size] times the block-diagonal matrix of `blocks` [blocks, size, size]; one block stands for all.
 * `turned`: times its transpose.
 */
export function timesBlocks(x: Value, blocks: Value, turned = false): Value {
  const size = blocks.shape[1] as number;
  const lead = x.shape.slice(0, -1).map((_, axis) => axis);
  const width = x.shape[x.shape.length - 1] as number;
  const kept = lead.map(() => 0);
  // Blocks before the last of the leading axes, so that each is one product of matrices.
  const rank = lead.length;
  const swap = [...lead.slice(0, -1), rank, rank - 1, rank + 1];
  const parts = transpose(reshape(x, [...kept, width / size, size]), swap);
  const own = turned ? transpose(blocks, [0, 2, 1]) : blocks;
  return reshape(transpose(matMul(parts, own), swap), [...kept, width]);
}
