import { floatOf, intOf } from "../attributes.ts";
import { reshapeLike, scaled, sumToShape } from "../gradient/algebra.ts";
import { defineGradients, operand } from "../gradient/rule.ts";
import { gemm, matMul } from "../ops/matmul.ts";
import { reshape, transpose, unsqueeze } from "../ops/shape.ts";
import type { Value } from "../value.ts";

/** The last two axes exchanged. */
export function transposeLast(x: Value): Value {
  const rank = x.shape.length;
  const perm = Array.from({ length: rank }, (_, axis) => axis);
  [perm[rank - 2], perm[rank - 1]] = [rank - 1, rank - 2];
  return transpose(x, perm);
}

/** All axes but the last as rows. */
function asMatrix(x: Value): Value {
  return x.shape.length === 2 ? x : reshape(x, [-1, x.shape[x.shape.length - 1] as number]);
}

/** Matrix products. A weight of two axes meets all rows at once, as one Gemm. */
export const matmulGradients = /* @__PURE__ */ defineGradients({
  /** y = a b: da = dy bᵀ, db = aᵀ dy, summed over batch axes that were broadcast. */
  MatMul(call) {
    const [given] = call.upstream;
    if (given === undefined) return [];
    const [left, right] = [operand(call, 0), operand(call, 1)];
    const [vectorLeft, vectorRight] = [left.shape.length === 1, right.shape.length === 1];
    const a = vectorLeft ? unsqueeze(left, [0]) : left;
    const b = vectorRight ? unsqueeze(right, [1]) : right;
    // The axes that vectors lack: rows before columns.
    let dy = given;
    if (vectorRight) dy = unsqueeze(dy, [dy.shape.length]);
    if (vectorLeft) dy = unsqueeze(dy, [dy.shape.length - 1]);
    const [wantsLeft, wantsRight] = call.wants;
    const [inner, columns] = [b.shape[b.shape.length - 2], b.shape[b.shape.length - 1]];
    if (b.shape.length === 2 && typeof inner === "number" && typeof columns === "number") {
      const rows = asMatrix(dy);
      const da = wantsLeft ? reshapeLike(gemm(rows, b, undefined, { transB: true }), left) : undefined;
      const db = wantsRight ? gemm(asMatrix(a), rows, undefined, { transA: true }) : undefined;
      return [da, db && reshapeLike(db, right)];
    }
    const da = wantsLeft ? sumToShape(matMul(dy, transposeLast(b)), a.shape, call.op) : undefined;
    const db = wantsRight ? sumToShape(matMul(transposeLast(a), dy), b.shape, call.op) : undefined;
    return [da && reshapeLike(da, left), db && reshapeLike(db, right)];
  },
  /** y = α A′ B′ + β C, where ′ may transpose. */
  Gemm(call) {
    const [dy] = call.upstream;
    if (dy === undefined) return [];
    const [a, b, c] = [operand(call, 0), operand(call, 1), call.inputs[2]];
    const [transA, transB] = [intOf(call, "transA", 0) === 1, intOf(call, "transB", 0) === 1];
    const [alpha, beta] = [floatOf(call, "alpha", 1), floatOf(call, "beta", 1)];
    const da = () =>
      transA
        ? gemm(b, dy, undefined, { transA: transB, transB: true, alpha })
        : gemm(dy, b, undefined, { transB: !transB, alpha });
    const db = () =>
      transB
        ? gemm(dy, a, undefined, { transA: true, transB: transA, alpha })
        : gemm(a, dy, undefined, { transA: !transA, alpha });
    return [
      call.wants[0] ? da() : undefined,
      call.wants[1] ? db() : undefined,
      call.wants[2] && c ? scaled(sumToShape(dy, c.shape, call.op), beta) : undefined,
    ];
  },
});
