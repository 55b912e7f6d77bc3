import * as fc from "fast-check";
import { expect, test } from "vitest";
import {
  addDims,
  broadcast,
  divideDims,
  divideExactly,
  multiplyDims,
  productOf,
  subtractDims,
  unknownDim,
} from "./dims.ts";
import type { Dim } from "./value.ts";

test("sums have one canonical text whatever the order", () => {
  expect(addDims("past", "sequence")).toBe("past + sequence");
  expect(addDims("sequence", "past")).toBe("past + sequence");
  expect(addDims(addDims("b", 1), addDims("a", 2))).toBe("a + b + 3");
  expect(subtractDims(addDims("past", "sequence"), "past")).toBe("sequence");
  expect(subtractDims("a", "a")).toBe(0);
});

test("products multiply out and divide again", () => {
  expect(multiplyDims("batch", multiplyDims(2, "length"))).toBe("2 * batch * length");
  expect(
    divideExactly(productOf(["batch", addDims("past", "now"), 64]), productOf(["batch", addDims("past", "now")])),
  ).toBe(64);
  expect(divideExactly(productOf(["batch", "length", 64]), multiplyDims("batch", 16))).toBe("4 * length");
  expect(divideExactly(multiplyDims("batch", 3), 2)).toBeUndefined();
  expect(divideDims("height", 2)).toBe("floor((height) / (2))");
  expect(divideDims(7, 2)).toBe(3);
});

test("texts that are no sums stay whole", () => {
  expect(addDims("floor(height / 2)", 1)).toBe("floor(height / 2) + 1");
  expect(subtractDims(addDims("floor(a + b)", 3), 3)).toBe("floor(a + b)");
  expect(addDims("past-length", "x/y")).toBe("past-length + x/y");
});

test("nothing is known about what is computed from an unknown size", () => {
  expect(addDims(unknownDim, 1)).toBe(unknownDim);
  expect(multiplyDims(unknownDim, 2)).toBe(unknownDim);
  expect(multiplyDims(unknownDim, 0)).toBe(0);
});

test("broadcast takes numbers above 1 over symbols and refuses what cannot meet", () => {
  expect(
    broadcast(
      [
        ["batch", 1, 4],
        [3, "n"],
      ],
      "Add",
    ),
  ).toEqual(["batch", 3, 4]);
  expect(broadcast([["a"], ["b"]], "Add")).toEqual([unknownDim]);
  expect(broadcast([["a"], ["a"]], "Add")).toEqual(["a"]);
  expect(() => broadcast([[2], [3]], "Add")).toThrow(/Add: shapes \[2\] and \[3\] cannot be broadcast/);
});

test("arithmetic on symbols agrees with arithmetic on numbers", () => {
  const values: Record<string, number> = { a: 3, b: 5, c: 7 };
  const evaluate = (dim: Dim): number =>
    typeof dim === "number"
      ? dim
      : (new Function("a", "b", "c", `return ${dim}`)(values.a, values.b, values.c) as number);
  const dim = fc.oneof(fc.integer({ min: 0, max: 9 }), fc.constantFrom("a", "b", "c"));
  fc.assert(
    fc.property(dim, dim, dim, (x, y, z) => {
      expect(evaluate(subtractDims(multiplyDims(addDims(x, y), z), x))).toBe(
        (evaluate(x) + evaluate(y)) * evaluate(z) - evaluate(x),
      );
      expect(addDims(x, addDims(y, z))).toEqual(addDims(addDims(z, x), y));
    }),
  );
});
