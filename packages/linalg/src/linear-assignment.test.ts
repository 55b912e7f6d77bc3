import { tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { linearAssignment } from "./linear-assignment.ts";

/** The least sum over all ways of pairing: by trying them. */
function exhaustive(cost: readonly (readonly number[])[]): number {
  if (cost.length > cost[0].length) return exhaustive(cost[0].map((_, j) => cost.map((row) => row[j])));
  const least = (row: number, used: ReadonlySet<number>): number => {
    if (row === cost.length) return 0;
    let best = Number.POSITIVE_INFINITY;
    cost[row].forEach((value, j) => {
      if (!used.has(j)) best = Math.min(best, value + least(row + 1, new Set([...used, j])));
    });
    return best;
  };
  return least(0, new Set());
}

test("worked example", () => {
  const { rows, columns, total } = linearAssignment(
    tensor([
      [4, 1, 3],
      [2, 0, 5],
      [3, 2, 2],
    ]),
  );
  expect([[...rows], [...columns], total]).toEqual([[0, 1, 2], [1, 0, 2], 5]);
});

test("no pairing is better, square or not, smallest or largest", () => {
  const size = fc.integer({ min: 1, max: 6 });
  fc.assert(
    fc.property(size, size, fc.boolean(), fc.infiniteStream(fc.integer({ min: -9, max: 9 })), (m, n, maximize, all) => {
      const cost = Array.from({ length: m }, () => Array.from({ length: n }, () => all.next().value as number));
      const { rows, columns, total } = linearAssignment(tensor(cost), { maximize });
      const wanted = maximize ? -exhaustive(cost.map((row) => row.map((value) => -value))) : exhaustive(cost);
      expect(total).toBe(wanted + 0);
      expect(rows.reduce((sum, row, i) => sum + cost[row][columns[i]], 0)).toBe(total);
      expect([...rows]).toEqual([...rows].sort((a, b) => a - b));
      expect([new Set(rows).size, new Set(columns).size]).toEqual([Math.min(m, n), Math.min(m, n)]);
    }),
    { numRuns: 150, seed: 12 },
  );
});
