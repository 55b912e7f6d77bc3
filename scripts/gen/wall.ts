import type { Floor } from "../floors/table.ts";

/** A package with the name it is published under. */
export interface Stone extends Floor {
  readonly name: string;
}

/** Where a brick lies: `row` 0 is the ground; from and to are parts of the wall's width. */
export interface Brick {
  readonly stone: Stone;
  readonly row: number;
  readonly from: number;
  readonly to: number;
}

/** A wall with one row for each floor that has packages; those of one floor share its width in the table's order. */
export function buildWall(stones: readonly Stone[]): Brick[] {
  const levels = [...new Set(stones.map(({ floor }) => floor))].sort((a, b) => a - b);
  return levels.flatMap((level, row) => {
    const bricks = stones.filter(({ floor }) => floor === level);
    return bricks.map((stone, i) => ({ stone, row, from: i / bricks.length, to: (i + 1) / bricks.length }));
  });
}
