import type { Kernels } from "@loomweight/kernels";
import { placesOf, rotatePair } from "./bidiagonal-svd.ts";
import { mixRows, side } from "./mix-rows.ts";
import { consistentWeights, secularRoots } from "./secular.ts";
import { tridiagonalNorm, tridiagonalQl } from "./tridiagonal-ql.ts";
import { unset } from "./workspace.ts";

const epsilon = 2 ** -52;

/** The matrix is scaled to about 1: what is below this is 0. */
const negligible = 1e-120;

/** Blocks that large are left to QL. */
const leafSize = 24;

/** float64 values that `tridiagonalEigen` takes in kernel memory. */
export const tridiagonalEigenRoom = (n: number): number => 4 * n * n + 16 * n;

interface Tree {
  readonly kernels: Kernels;
  readonly n: number;
  readonly diagonal: Float64Array;
  readonly beside: Float64Array;
  readonly norm: number;
  readonly values: Float64Array;
  readonly vectors: Float64Array;
}

/**
 * Eigenvalues, ascending, and vectors (rows [n, n], in kernel memory) of a symmetric tridiagonal matrix scaled to about
 * 1, by divide and conquer: both halves are joined by a correction of rank one, whose eigenvalues solve a secular
 * equation (Cuppen 1981, Gu and Eisenstat 1995). Vectors come from products of matrices.
 */
export function tridiagonalEigen(
  kernels: Kernels,
  diagonal: Float64Array,
  beside: Float64Array,
): { values: Float64Array; vectors: Float64Array } {
  const n = diagonal.length;
  const vectors = unset(kernels, n * n).fill(0);
  const values = new Float64Array(n);
  const norm = tridiagonalNorm(diagonal, beside);
  split({ kernels, n, diagonal: diagonal.slice(), beside, norm, values, vectors }, 0, n);
  return { values, vectors };
}

function split(tree: Tree, at: number, size: number): void {
  if (size <= leafSize) {
    leaf(tree, at, size);
    return;
  }
  const left = size >> 1;
  const rho = Math.abs(tree.beside[at + left - 1]);
  tree.diagonal[at + left - 1] -= rho;
  tree.diagonal[at + left] -= rho;
  split(tree, at, left);
  split(tree, at + left, size - left);
  join(tree, at, left, size - left);
}

function leaf({ n, diagonal, beside, norm, values, vectors }: Tree, at: number, size: number): void {
  const d = diagonal.slice(at, at + size);
  const e = beside.slice(at, at + size - 1);
  const z = new Float64Array(size * size);
  for (let i = 0; i < size; i++) z[i * size + i] = 1;
  tridiagonalQl(d, e, z, norm);
  placesOf([...d], []).forEach((place, i) => {
    values[at + place] = d[i];
    vectors.set(z.subarray(i * size, (i + 1) * size), (at + place) * n + at);
  });
}

function join({ kernels, n, beside, values, vectors }: Tree, at: number, left: number, right: number): void {
  const size = left + right;
  const rho = beside[at + left - 1];
  const strength = Math.abs(rho);
  const d = values.slice(at, at + size);
  const z = new Float64Array(size);
  const sides = new Uint8Array(size);
  let largest = strength;
  for (let i = 0; i < size; i++) {
    const row = (at + i) * n + at;
    z[i] = i < left ? vectors[row + left - 1] : (rho < 0 ? -1 : 1) * vectors[row + left];
    sides[i] = i < left ? side.left : side.right;
    largest = Math.max(largest, Math.abs(d[i]));
  }
  const tolerance = Math.max(8 * epsilon * largest, negligible);
  const kept: number[] = [];
  const settled: number[] = [];
  const ascending = Array.from({ length: size }, (_, i) => i).sort((a, b) => d[a] - d[b] || a - b);
  for (const i of ascending) {
    if (strength * Math.abs(z[i]) <= tolerance) {
      settled.push(i);
      continue;
    }
    const before = kept[kept.length - 1];
    if (before !== undefined) {
      const r = Math.sqrt(z[i] * z[i] + z[before] * z[before]);
      const [c, s] = [z[i] / r, -z[before] / r];
      if (Math.abs(c * s * (d[i] - d[before])) <= tolerance) {
        rotatePair(vectors, n, at, size, before, i, c, s);
        [d[before], d[i]] = [d[before] * c * c + d[i] * s * s, d[before] * s * s + d[i] * c * c];
        z[i] = r;
        z[before] = 0;
        if (sides[i] !== sides[before]) sides[i] = side.both;
        settled.push(before);
        kept[kept.length - 1] = i;
        continue;
      }
    }
    kept.push(i);
  }
  const count = kept.length;
  const mark = kernels.mark();
  let found = new Float64Array(0);
  let mixed = found;
  if (count > 0) {
    const gaps = unset(kernels, count * count);
    const weights = unset(kernels, count * count);
    const poles = Float64Array.from(kept, (i) => d[i]);
    const parts = Float64Array.from(kept, (i) => z[i]);
    const differences = (o: number, out: Float64Array) => {
      const pole = poles[o];
      for (let i = 0; i < count; i++) out[i] = poles[i] - pole;
    };
    const squares = parts.map((x) => strength * x * x);
    const { origins, shifts } = secularRoots(count, squares, differences, gaps);
    found = Float64Array.from(origins, (o, j) => poles[o] + shifts[j]);
    const exact = consistentWeights(count, parts, gaps, differences);
    const order = Array.from({ length: count }, (_, i) => i).sort((a, b) => sides[kept[a]] - sides[kept[b]] || a - b);
    const counts = [0, 0, 0] as [number, number, number];
    for (const row of kept) counts[sides[row]]++;
    for (let j = 0; j < count; j++) {
      const row = j * count;
      let sum = 0;
      for (let p = 0; p < count; p++) {
        const value = exact[order[p]] / gaps[row + order[p]];
        weights[row + p] = value;
        sum += value * value;
      }
      const scale = 1 / Math.sqrt(sum);
      for (let p = 0; p < count; p++) weights[row + p] *= scale;
    }
    const rows = order.map((i) => kept[i]);
    mixed = mixRows(kernels, vectors, n, { at, first: left, second: right }, rows, counts, weights) as typeof mixed;
  }
  const others = unset(kernels, settled.length * size);
  settled.forEach((i, p) => {
    const from = (at + i) * n + at;
    others.set(vectors.subarray(from, from + size), p * size);
  });
  const target = placesOf(
    [...found],
    settled.map((i) => d[i]),
  );
  for (let j = 0; j < size; j++) {
    const source = j < count ? mixed : others;
    const row = j < count ? j : j - count;
    vectors.set(source.subarray(row * size, (row + 1) * size), (at + target[j]) * n + at);
    values[at + target[j]] = j < count ? found[j] : d[settled[row]];
  }
  kernels.release(mark);
}
