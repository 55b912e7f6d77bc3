import { expect, test } from "vitest";
import { displayWidth, formatPairs, formatTable } from "./table.ts";

test("columns align, the last one is not padded, empty ones are left out", () => {
  const columns = [{ title: "name" }, { title: "size", align: "right" as const }, { title: "" }, { title: "note" }];
  expect(
    formatTable(columns, [
      ["a", "1", "", "x"],
      ["longer", "1000", "", ""],
    ]),
  ).toEqual(["name    size  note", "a          1  x", "longer  1000"]);
});

test("control characters and line ends of a name cannot reach the terminal", () => {
  const [line] = formatPairs([["tensor", "a\u001b[2Jb\nc\u202ed"]]);
  expect(line).toBe("tensor  a\\u001b[2Jb\\nc\\u202ed");
});

test("wide characters take two columns and marks none", () => {
  expect([displayWidth("abc"), displayWidth("重み"), displayWidth("e\u0301")]).toEqual([3, 4, 1]);
});
