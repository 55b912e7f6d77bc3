import type { Kernels } from "@loomweight/kernels";
import { normalizeRows, orthogonalizeRows } from "./jacobi.ts";
import { type Halves, mixRows, side } from "./mix-rows.ts";
import { consistentWeights, secularRoots } from "./secular.ts";
import { unset } from "./workspace.ts";

const epsilon = 2 ** -52;

/** The matrix is scaled to about 1: what is below this is 0, and its square does not underflow. */
const negligible = 1e-120;

/** Blocks that large are left to Jacobi rotations. */
const leafSize = 16;

/** float64 values that `bidiagonalSvd` takes in kernel memory. */
export const bidiagonalSvdRoom = (n: number): number => 5 * n * n + 16 * n;

/** b = u^T diag(values) v, values ascending; rows of `u` and `v` [n, n] are the vectors, in kernel memory. */
export interface BidiagonalSvd {
  readonly values: Float64Array;
  readonly u: Float64Array;
  readonly v: Float64Array;
}

interface Tree {
  readonly kernels: Kernels;
  readonly n: number;
  readonly diagonal: Float64Array;
  readonly above: Float64Array;
  readonly values: Float64Array;
  readonly u: Float64Array;
  readonly v: Float64Array;
}

/**
 * SVD of an upper bidiagonal matrix, scaled to about 1, by divide and conquer: a row in the middle joins the SVDs of
 * both halves into an arrow matrix, whose SVD is a secular equation (Gu and Eisenstat 1995, "A divide-and-conquer
 * algorithm for the bidiagonal SVD"). Vectors come from products of matrices.
 */
export function bidiagonalSvd(kernels: Kernels, diagonal: Float64Array, above: Float64Array): BidiagonalSvd {
  const n = diagonal.length;
  const u = unset(kernels, n * n).fill(0);
  const v = unset(kernels, n * n).fill(0);
  const values = new Float64Array(n);
  const tree = { kernels, n, diagonal, above, values, u, v };
  split(tree, 0, n, 0);
  for (let i = 0; i < n; i++) if (values[i] <= 4 * negligible) values[i] = 0;
  return { values, u, v };
}

/** Rows `at` .. `at + size` of the matrix; `extra` = 1: with one column more than rows, whose null vector follows in v. */
function split(tree: Tree, at: number, size: number, extra: 0 | 1): void {
  if (size <= leafSize) {
    leaf(tree, at, size, extra);
    return;
  }
  const left = size >> 1;
  split(tree, at, left, 1);
  split(tree, at + left + 1, size - left - 1, extra);
  join(tree, at, left, size - left - 1, extra);
}

function leaf({ n, diagonal, above, values, u, v }: Tree, at: number, size: number, extra: 0 | 1): void {
  const order = size + extra;
  const g = new Float64Array(order * order);
  for (let i = 0; i < size; i++) {
    g[i * order + i] = diagonal[at + i];
    if (i + 1 < order) g[i * order + i + 1] = above[at + i];
  }
  const j = orthogonalizeRows(g, order, order);
  const norms = normalizeRows(g, order, order);
  const ascending = Array.from({ length: size }, (_, i) => i).sort((a, b) => norms[a] - norms[b]);
  if (extra === 1) ascending.push(size); // the row of zeros: its vector spans the null space
  for (let i = 0; i < order; i++) {
    const from = ascending[i] * order;
    v.set(g.subarray(from, from + order), (at + i) * n + at);
    if (i === size) break;
    u.set(j.subarray(from, from + size), (at + i) * n + at);
    values[at + i] = norms[ascending[i]];
  }
}

/** What the arrow matrix is made of: entry i has a pole d, a weight z, and a row of u and v (index in the block). */
interface Arrow {
  readonly d: Float64Array;
  readonly z: Float64Array;
  readonly sides: Uint8Array;
}

function join(tree: Tree, at: number, left: number, right: number, extra: 0 | 1): void {
  const { kernels, n, diagonal, above, values, u, v } = tree;
  const size = left + 1 + right;
  const middle = at + left;
  const [alpha, beta] = [diagonal[middle], above[middle]];
  const u1 = u.subarray(middle * n + at, middle * n + at + size).fill(0);
  u1[left] = 1;

  // the null vectors of both halves: one part joins the arrow, the other is the null vector of the whole
  const columns = size + extra;
  const w = v.subarray(middle * n + at, middle * n + at + columns);
  const lambda = alpha * w[left];
  const last = (at + size) * n + at;
  const phi = extra === 1 ? beta * v[last + left + 1] : 0;
  let head = Math.sqrt(lambda * lambda + phi * phi);
  if (extra === 1) {
    // below `negligible` squares underflow, and c, s would be no rotation
    const [c, s] = head <= negligible ? [1, 0] : [lambda / head, phi / head];
    for (let i = 0; i < columns; i++) {
      const [x, y] = [w[i], v[last + i]];
      w[i] = c * x + s * y;
      v[last + i] = c * y - s * x;
    }
  } else head = lambda;

  const arrow: Arrow = { d: new Float64Array(size), z: new Float64Array(size), sides: new Uint8Array(size) };
  let largest = Math.max(Math.abs(alpha), Math.abs(beta));
  for (let i = 0; i < size; i++) {
    if (i === left) continue;
    const row = (at + i) * n + at;
    arrow.d[i] = values[at + i];
    arrow.z[i] = i < left ? alpha * v[row + left] : beta * v[row + left + 1];
    arrow.sides[i] = i < left ? side.left : side.right;
    largest = Math.max(largest, arrow.d[i]);
  }
  const tolerance = Math.max(8 * epsilon * largest, negligible);
  arrow.d[left] = 0;
  arrow.z[left] = Math.abs(head) <= tolerance ? tolerance : head;
  arrow.sides[left] = side.both;
  const { kept, settled } = deflate(arrow, left, tolerance, (p, q, c, s) => {
    rotatePair(u, n, at, size, p, q, c, s);
    rotatePair(v, n, at, columns, p, q, c, s);
  });

  const count = kept.length;
  const d = Float64Array.from(kept, (i) => arrow.d[i]);
  const z = Float64Array.from(kept, (i) => arrow.z[i]);
  d[0] = 0;
  if (count > 1) d[1] = Math.max(d[1], tolerance / 2);
  const mark = kernels.mark();
  const gaps = unset(kernels, count * count);
  const weights = unset(kernels, count * count);
  const differences = (o: number, out: Float64Array) => {
    const pole = d[o];
    for (let i = 0; i < count; i++) out[i] = (d[i] - pole) * (d[i] + pole);
  };
  const squares = z.map((x) => x * x);
  const { origins, shifts } = secularRoots(count, squares, differences, gaps);
  const found = Float64Array.from(origins, (o, j) => Math.sqrt(Math.max(0, d[o] * d[o] + shifts[j])));
  const exact = consistentWeights(count, z, gaps, differences);

  // rows in the order left, both, right for the product; their places in d stay
  const order = Array.from({ length: count }, (_, i) => i).sort(
    (a, b) => arrow.sides[kept[a]] - arrow.sides[kept[b]] || a - b,
  );
  const rows = order.map((i) => kept[i]);
  const counts = [0, 0, 0] as [number, number, number];
  for (const row of rows) counts[arrow.sides[row]]++;
  const target = placesOf(
    [...found],
    settled.map((i) => arrow.d[i]),
  );
  const write = (matrix: Float64Array, halves: Halves, entry: (i: number, gap: number) => number) => {
    for (let j = 0; j < count; j++) {
      const row = j * count;
      let sum = 0;
      for (let p = 0; p < count; p++) {
        const value = entry(order[p], gaps[row + order[p]]);
        weights[row + p] = value;
        sum += value * value;
      }
      const scale = 1 / Math.sqrt(sum);
      for (let p = 0; p < count; p++) weights[row + p] *= scale;
    }
    const width = halves.first + halves.second;
    const inner = kernels.mark();
    const mixed = mixRows(kernels, matrix, n, halves, rows, counts, weights);
    const others = unset(kernels, settled.length * width);
    settled.forEach((i, p) => {
      const from = (at + i) * n + at;
      others.set(matrix.subarray(from, from + width), p * width);
    });
    for (let j = 0; j < size; j++) {
      const source =
        j < count
          ? mixed.subarray(j * width, (j + 1) * width)
          : others.subarray((j - count) * width, (j - count + 1) * width);
      matrix.set(source, (at + target[j]) * n + at);
    }
    kernels.release(inner);
  };
  write(u, { at, first: left + 1, second: right }, (i, gap) => (i === 0 ? -1 : (d[i] * exact[i]) / gap));
  write(v, { at, first: left + 1, second: right + extra }, (i, gap) => exact[i] / gap);
  found.forEach((value, j) => {
    values[at + target[j]] = value;
  });
  settled.forEach((i, p) => {
    values[at + target[count + p]] = arrow.d[i];
  });
  kernels.release(mark);
}

/** Places in ascending order: of the first list's entries, then of the second's. */
export function placesOf(first: readonly number[], second: readonly number[]): number[] {
  const all = [...first, ...second];
  const places = new Array<number>(all.length);
  all
    .map((_, i) => i)
    .sort((a, b) => all[a] - all[b] || a - b)
    .forEach((i, place) => {
      places[i] = place;
    });
  return places;
}

/** Rows p and q of a block: q <- c q - s p', p <- c p + s q' as the entries of z ask. */
export function rotatePair(
  matrix: Float64Array,
  n: number,
  at: number,
  width: number,
  p: number,
  q: number,
  c: number,
  s: number,
): void {
  const [x, y] = [(at + p) * n + at, (at + q) * n + at];
  for (let i = 0; i < width; i++) {
    const [a, b] = [matrix[x + i], matrix[y + i]];
    matrix[x + i] = c * a + s * b;
    matrix[y + i] = c * b - s * a;
  }
}

/**
 * Splits the entries into those that the secular equation is solved for (`kept`: entry `first`, then ascending poles)
 * and those that are done: a weight of nothing, or a pole equal to a neighbour's, after a rotation of the two.
 */
function deflate(
  { d, z, sides }: Arrow,
  first: number,
  tolerance: number,
  rotateRows: (p: number, q: number, c: number, s: number) => void,
): { kept: number[]; settled: number[] } {
  const ascending = Array.from({ length: d.length }, (_, i) => i)
    .filter((i) => i !== first)
    .sort((a, b) => d[a] - d[b] || a - b);
  const kept = [first];
  const settled: number[] = [];
  for (const i of ascending) {
    if (Math.abs(z[i]) <= tolerance) {
      settled.push(i);
      continue;
    }
    const before = kept[kept.length - 1];
    if (kept.length > 1 && d[i] - d[before] <= tolerance) {
      const r = Math.sqrt(z[i] * z[i] + z[before] * z[before]);
      const [c, s] = [z[i] / r, -z[before] / r];
      rotateRows(before, i, c, s);
      z[i] = r;
      z[before] = 0;
      if (sides[i] !== sides[before]) sides[i] = side.both;
      settled.push(before);
      kept[kept.length - 1] = i;
    } else kept.push(i);
  }
  return { kept, settled };
}
