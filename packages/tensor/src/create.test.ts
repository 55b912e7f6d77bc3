import { expect, test } from "vitest";
import { tensor } from "./create.ts";

test("what is not a shape is refused by name, and a dtype in its place is told where it belongs", () => {
  const wrong = (shape: unknown) => () => tensor([1, 2], shape as readonly number[]);
  expect(wrong("float64")).toThrow(/second argument is the shape.*tensor\(values, undefined, "float64"\)/);
  expect(wrong(2)).toThrow(/second argument is the shape/);
  expect(wrong({})).toThrow(expect.objectContaining({ code: "INVALID_SHAPE" }));
});

test("a shape that the values do not fill, and rows of different lengths", () => {
  expect(() => tensor([1, 2, 3], [2, 2])).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
  expect(() => tensor([[1, 2], [3]])).toThrow(expect.objectContaining({ code: "RAGGED_ARRAY" }));
  expect(tensor([1, 2, 3, 4], [2, 2], "float64").shape).toEqual([2, 2]);
});
