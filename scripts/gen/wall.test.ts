import { expect, test } from "vitest";
import { drawPackages, wrap } from "./draw-packages.ts";
import { readStones } from "./stones.ts";
import { buildWall, restsOn, type Stone } from "./wall.ts";

const stone = (name: string, floor: number, ...needs: string[]): Stone => ({
  name,
  floor,
  needs,
  folder: name,
  holds: `what ${name} holds & does`,
  group: "weights",
});

test("a stone rests only on what it does not reach through others", () => {
  const stones = [stone("a", 0), stone("b", 1, "a"), stone("c", 2, "a", "b")];
  expect([...restsOn(stones).values()]).toEqual([[], ["a"], ["b"]]);
});

test("every brick lies exactly on those it rests on, whatever the order of the table", () => {
  const stones = [
    stone("base", 0),
    stone("x", 1, "base"),
    stone("y", 1, "base"),
    stone("z", 1, "base"),
    stone("xz", 2, "x", "z"),
    stone("top", 3, "xz", "y"),
  ];
  const bricks = new Map(buildWall(stones).map((brick) => [brick.stone.name, brick]));
  expect(bricks.get("base")).toMatchObject({ row: 0, from: 0, to: 3 });
  const above = bricks.get("xz");
  const carriers = [bricks.get("x"), bricks.get("z")];
  expect(above).toMatchObject({
    from: Math.min(...carriers.map((b) => b?.from ?? 9)),
    to: Math.max(...carriers.map((b) => b?.to ?? 0)),
  });
  expect((above?.to ?? 0) - (above?.from ?? 0)).toBe(2);
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
