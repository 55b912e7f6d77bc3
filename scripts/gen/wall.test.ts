import { expect, test } from "vitest";
import { drawPackages, wrap } from "./draw-packages.ts";
import { readStones } from "./stones.ts";
import { buildWall, type Stone } from "./wall.ts";

const stone = (name: string, floor: number): Stone => ({
  name,
  floor,
  folder: name,
  holds: `what ${name} holds & does`,
  group: "weights",
});

test("floors without packages leave no gap, and packages of one floor share its width", () => {
  const bricks = buildWall([stone("top", 7), stone("x", 3), stone("base", 0), stone("y", 3)]);
  expect(bricks.map(({ stone: { name }, row, from, to }) => [name, row, from, to])).toEqual([
    ["base", 0, 0, 1],
    ["x", 1, 0, 0.5],
    ["y", 1, 0.5, 1],
    ["top", 2, 0, 1],
  ]);
});

test("the house of this repository can be drawn, and names every package", () => {
  const stones = readStones();
  const picture = drawPackages(stones);
  for (const { name } of stones) expect(picture).toContain(`>${name}</text>`);
});

test("text is broken into lines that fit", () => {
  expect(wrap("one two three four five six", 14).every((line) => line.length <= 14)).toBe(true);
  expect(wrap("one two three four five six", 14).join(" ")).toBe("one two three four five six");
});
