import type { Tensor } from "@loomweight/tensor";
import { readMatrix, transposed } from "./core/dense.ts";

export interface LinearAssignmentOptions {
  /** Take the largest total instead of the smallest. Default false. */
  readonly maximize?: boolean;
}

/** min(m, n) pairs: row rows[i] goes with column columns[i]. */
export interface LinearAssignment {
  /** Ascending. */
  readonly rows: Int32Array;
  readonly columns: Int32Array;
  /** Sum of the chosen entries. */
  readonly total: number;
}

/**
 * Pairs rows with columns of cost [m, n], each at most once, min(m, n) pairs, so that the sum is least: shortest
 * augmenting paths with potentials (Jonker and Volgenant 1987; rectangular as Crouse 2016). O(min^2 max) time. Ties are
 * broken by the order of columns: the same result everywhere. Throws `SHAPE_MISMATCH`, `UNSUPPORTED_DTYPE`, `NOT_FINITE`.
 */
export function linearAssignment(cost: Tensor, options: LinearAssignmentOptions = {}): LinearAssignment {
  const matrix = readMatrix(cost, { function: "linearAssignment", operand: "cost" });
  const turned = matrix.rows > matrix.columns;
  const { rows: m, columns: n, values } = turned ? transposed(matrix) : matrix;
  const sign = options.maximize === true ? -1 : 1;
  const columnOf = shortestPaths(sign < 0 ? values.map((value) => -value) : values, m, n);
  let total = 0;
  for (let i = 0; i < m; i++) total += values[i * n + columnOf[i]];
  const identity = Int32Array.from({ length: m }, (_, i) => i);
  if (!turned) return { rows: identity, columns: columnOf, total };
  const order = identity.slice().sort((a, b) => columnOf[a] - columnOf[b]);
  return { rows: order.map((i) => columnOf[i]), columns: order, total };
}

/** The column of each row of cost [m, n], m <= n. */
function shortestPaths(cost: Float64Array, m: number, n: number): Int32Array {
  const rowPotential = new Float64Array(m);
  const columnPotential = new Float64Array(n);
  const columnOf = new Int32Array(m).fill(-1);
  const rowOf = new Int32Array(n).fill(-1);
  const distance = new Float64Array(n);
  const before = new Int32Array(n);
  const open = new Int32Array(n); // columns that are not reached, in order
  const reachedRows = new Int32Array(m);
  const reached = new Uint8Array(n);
  for (let start = 0; start < m; start++) {
    distance.fill(Number.POSITIVE_INFINITY);
    reached.fill(0);
    for (let j = 0; j < n; j++) open[j] = j;
    let left = n;
    let rows = 0;
    let sink = -1;
    let row = start;
    let least = 0;
    while (sink < 0) {
      reachedRows[rows++] = row;
      let at = -1;
      let lowest = Number.POSITIVE_INFINITY;
      const base = least - rowPotential[row];
      for (let p = 0; p < left; p++) {
        const j = open[p];
        const length = base + cost[row * n + j] - columnPotential[j];
        if (length < distance[j]) {
          distance[j] = length;
          before[j] = row;
        }
        // among equals a free column ends the path at once
        if (distance[j] < lowest || (distance[j] === lowest && rowOf[j] < 0 && rowOf[open[at]] >= 0)) {
          lowest = distance[j];
          at = p;
        }
      }
      least = lowest;
      const column = open[at];
      reached[column] = 1;
      open.copyWithin(at, at + 1, left--);
      if (rowOf[column] < 0) sink = column;
      else row = rowOf[column];
    }
    rowPotential[start] += least;
    for (let p = 1; p < rows; p++) {
      const i = reachedRows[p];
      rowPotential[i] += least - distance[columnOf[i]];
    }
    for (let j = 0; j < n; j++) if (reached[j] === 1) columnPotential[j] -= least - distance[j];
    for (let column = sink; ; ) {
      const i = before[column];
      rowOf[column] = i;
      const next = columnOf[i];
      columnOf[i] = column;
      if (i === start) break;
      column = next;
    }
  }
  return columnOf;
}
