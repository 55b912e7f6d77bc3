import { add, einsum, mul, reduceSum, reshape, sub, type Value } from "@loomweight/graph";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { constantLike } from "./update.ts";

/**
 * Tensor rings: a matrix as small cores, one for each mode of its rows and columns, whose ring indices are multiplied
 * along and closed by a trace. Transforms have cores [mode, mode, rank, rank], vectors' cores are [mode, rank, rank];
 * the left ring index comes first, modes are row-major, the first slowest.
 */

/** The balanced factors of a size, the largest first: 64 in two is 8 · 8; a prime is itself and 1. */
export function balancedFactors(size: number, count: number): number[] {
  if (count <= 1) return [size];
  let best: number[] | undefined;
  const spread = (factors: readonly number[]) => Math.max(...factors) / Math.min(...factors);
  const search = (rest: number, left: number, most: number, found: readonly number[]) => {
    if (left === 1) {
      if (rest > most) return;
      const factors = [...found, rest];
      if (best === undefined || spread(factors) < spread(best)) best = factors;
      return;
    }
    for (let factor = Math.min(most, rest); factor >= 1; factor--) {
      if (rest % factor === 0) search(rest / factor, left - 1, factor, [...found, factor]);
    }
  };
  search(size, count, size, []);
  return best ?? [size];
}

/** Modes written "64x64", or the balanced factors of `size`. Throws `INVALID_OPTION` where they do not multiply to it. */
export function readModes(given: string, count: number, size: number, option: string): number[] {
  if (given === "") return balancedFactors(size, count);
  const modes = given.split("x").map(Number);
  const whole = modes.every((mode) => Number.isSafeInteger(mode) && mode >= 1);
  if (whole && modes.reduce((product, mode) => product * mode, 1) === size) return modes;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "the modes do not multiply to the layer's size",
    option,
    expected: `whole numbers whose product is ${size}, such as "${balancedFactors(size, 2).join("x")}"`,
    found: `"${given}"`,
    fix: `Leave it empty for balanced modes.`,
  });
}

/** The matrix [Π modes, Π modes] of a transform's cores. */
export function ringTransform(cores: readonly Value[]): Value {
  const [first, ...rest] = cores;
  if (rest.length === 0) return einsum("ijpp->ij", first);
  let held = first;
  for (const [index, core] of rest.entries()) {
    const last = index === rest.length - 1;
    const joined = last ? einsum("ijpq,abqp->iajb", held, core) : einsum("ijpq,abqr->iajbpr", held, core);
    const [rows, columns] = [sizeOf(held, 0) * sizeOf(core, 0), sizeOf(held, 1) * sizeOf(core, 1)];
    held = reshape(joined, last ? [rows, columns] : [rows, columns, sizeOf(held, 2), sizeOf(core, 3)]);
  }
  return held;
}

/** The matrix [Π rows' modes, Π columns' modes] of two rows of cores in one ring. */
export function ringMatrix(rowCores: readonly Value[], columnCores: readonly Value[]): Value {
  const rows = chain(rowCores);
  const columns = chain(columnCores);
  return einsum("apq,bqp->ab", rows, columns);
}

/** Open ring of vectors' cores: [Π modes, rank, rank]. */
function chain(cores: readonly Value[]): Value {
  return cores.reduce((held, core) =>
    reshape(einsum("apq,bqr->abpr", held, core), [sizeOf(held, 0) * sizeOf(core, 0), sizeOf(held, 1), sizeOf(core, 2)]),
  );
}

/** x [..., Π modes] times the transform's transpose, mode by mode: the transform itself is never formed. */
export function applyTransform(x: Value, cores: readonly Value[]): Value {
  if (cores.length === 1) return einsum("...j,ij->...i", x, ringTransform(cores));
  const modes = cores.map((core) => sizeOf(core, 0));
  const width = modes.reduce((product, mode) => product * mode, 1);
  // [n, done, open ring start, open ring end, rest]
  let rest = width / modes[0];
  let held = einsum("njk,ijpq->nipqk", reshape(x, [-1, modes[0], rest]), cores[0]);
  for (let index = 1; index < cores.length; index++) {
    const [done, p, q] = [held.shape[1], held.shape[2], held.shape[3]].map(Number);
    rest /= modes[index];
    const open = reshape(held, [-1, done, p, q, modes[index], rest]);
    const size = done * modes[index];
    held =
      index === cores.length - 1
        ? einsum("nipqjk,ajqp->niak", open, cores[index])
        : reshape(einsum("nipqjk,ajqr->niaprk", open, cores[index]), [-1, size, p, sizeOf(cores[index], 3), rest]);
  }
  return reshape(held, [...x.shape.slice(0, -1).map((size) => (typeof size === "number" ? size : 0)), width]);
}

/** ‖T − 1‖²_F of a transform, from its cores: a scalar. Pulls T back to the identity, where weight decay pulls to zero. */
export function identityPenalty(cores: readonly Value[]): Value {
  const pairs = cores.map((core) => {
    const rank = sizeOf(core, 2);
    return reshape(einsum("ijpq,ijrs->prqs", core, core), [rank * rank, rank * rank]);
  });
  const squares = traceOfProduct(pairs);
  const withIdentity = traceOfProduct(cores.map((core) => einsum("iipq->pq", core)));
  const width = cores.reduce((product, core) => product * sizeOf(core, 0), 1);
  return add(sub(squares, mul(withIdentity, 2)), width);
}

/** ‖TᵀT − 1‖²_F of a transform, from its cores: a scalar. */
export function orthogonalPenalty(cores: readonly Value[]): Value {
  const squared = cores.map((core) => {
    const [mode, rank] = [sizeOf(core, 0), sizeOf(core, 2)];
    return reshape(einsum("kipq,kjrs->ijprqs", core, core), [mode, mode, rank * rank, rank * rank]);
  });
  return identityPenalty(squared);
}

function traceOfProduct(matrices: readonly Value[]): Value {
  const product = matrices.reduce((held, next) => einsum("pq,qr->pr", held, next));
  const size = sizeOf(product, 0);
  return reduceSum(mul(product, identityLike(product, size)), [0, 1], false);
}

function identityLike(like: Value, size: number): Tensor {
  const values = new Float64Array(size * size);
  for (let i = 0; i < size; i++) values[i * size + i] = 1;
  return constantLike(like, values, [size, size]);
}

function sizeOf(value: Value, axis: number): number {
  return Number(value.shape[axis]);
}
