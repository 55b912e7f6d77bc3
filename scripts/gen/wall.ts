import type { Floor } from "../floors/table.ts";

/** A package with what it directly needs, as its package.json says. */
export interface Stone extends Floor {
  readonly name: string;
  readonly needs: readonly string[];
}

/** Where a brick lies: `row` 0 is the ground; columns [from, to). */
export interface Brick {
  readonly stone: Stone;
  readonly row: number;
  readonly from: number;
  readonly to: number;
}

/** For every stone the ones it rests on directly: its needs without those it reaches through others. */
export function restsOn(stones: readonly Stone[]): Map<string, string[]> {
  const byName = new Map(stones.map((stone) => [stone.name, stone]));
  const below = (name: string, seen: Set<string>): Set<string> => {
    for (const need of byName.get(name)?.needs ?? []) {
      if (!seen.has(need)) below(need, seen.add(need));
    }
    return seen;
  };
  return new Map(
    stones.map(({ name, needs }) => [
      name,
      needs.filter((need) => !needs.some((other) => other !== need && below(other, new Set()).has(need))),
    ]),
  );
}

/**
 * A wall in which every brick lies exactly on those it rests on. The row with most bricks gives the columns; rows
 * above span what carries them, rows below span what they carry. Throws when no order of that row makes a wall.
 */
export function buildWall(stones: readonly Stone[]): Brick[] {
  const supports = restsOn(stones);
  const row = new Map<string, number>();
  for (const { name } of [...stones].sort((a, b) => a.floor - b.floor)) {
    row.set(name, 1 + Math.max(-1, ...(supports.get(name) ?? []).map((need) => row.get(need) ?? 0)));
  }
  const rows = Array.from({ length: Math.max(...row.values()) + 1 }, (_, level) =>
    stones.filter(({ name }) => row.get(name) === level).map(({ name }) => name),
  );
  const widest = rows.reduce((best, names, level) => (names.length > rows[best].length ? level : best), 0);
  for (const order of permutations(rows[widest])) {
    const spans = new Map(order.map((name, column) => [name, [column, column + 1] as const]));
    for (let level = widest + 1; level < rows.length; level++) {
      for (const name of rows[level]) spans.set(name, union((supports.get(name) ?? []).map((need) => spans.get(need))));
    }
    for (let level = widest - 1; level >= 0; level--) {
      for (const name of rows[level]) {
        const carried = stones.filter((stone) => supports.get(stone.name)?.includes(name));
        spans.set(name, union(carried.map((stone) => spans.get(stone.name))));
      }
    }
    const whole = [...supports].every(
      ([name, needs]) => (row.get(name) ?? 0) <= widest || isGapless(needs.map((need) => spans.get(need))),
    );
    if (whole && rows.every((names) => areDisjoint(names.map((name) => spans.get(name))))) {
      return stones.map((stone) => {
        const [from, to] = spans.get(stone.name) ?? [0, 0];
        return { stone, row: row.get(stone.name) ?? 0, from, to };
      });
    }
  }
  throw new Error("the packages cannot be drawn as a wall: two that share a row rest on overlapping ones");
}

type Span = readonly [from: number, to: number];

function union(spans: readonly (Span | undefined)[]): Span {
  const known = spans.filter((span): span is Span => span !== undefined);
  return [Math.min(...known.map(([from]) => from)), Math.max(...known.map(([, to]) => to))];
}

/** Whether spans lie side by side with nothing between them. */
function isGapless(spans: readonly (Span | undefined)[]): boolean {
  const [from, to] = union(spans);
  return spans.reduce((sum, span) => sum + (span === undefined ? 0 : span[1] - span[0]), 0) === to - from;
}

function areDisjoint(spans: readonly (Span | undefined)[]): boolean {
  const sorted = spans.filter((span): span is Span => span !== undefined).sort((a, b) => a[0] - b[0]);
  return sorted.every(([from, to], i) => from < to && (i === 0 || sorted[i - 1][1] <= from));
}

function* permutations(names: readonly string[]): Generator<string[]> {
  if (names.length <= 1) yield [...names];
  for (const [i, first] of names.entries()) {
    for (const rest of permutations(names.filter((_, j) => j !== i))) yield [first, ...rest];
  }
}
