import { matMul, transpose } from "@loomweight/graph";
import { fromData, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { largestDifference, numbers } from "../../test/contract.ts";
import { cayley, cayleyNeumann, identityLike, inverse, skewSymmetric, timesBlocks } from "./rotation.ts";

const matrix = (rows: number[][]) => fromData("float64", Float64Array.from(rows.flat()), [rows.length, rows[0].length]);

test("the upper triangle is filled row by row", () => {
  const q = skewSymmetric(matrix([[1, 2, 3]]), 3) as Tensor;
  expect([...(q.data as Float64Array)]).toEqual([0, 1, 2, -1, 0, 3, -2, -3, 0]);
});

test("a block of one element is the identity", () => {
  const none = fromData("float64", new Float64Array(0), [2, 0]);
  expect([...((cayley(skewSymmetric(none, 1)) as Tensor).data as Float64Array)]).toEqual([1, 1]);
});

test("Cayley's transform of [[0, 1], [-1, 0]] is [[0, -1], [1, 0]]", () => {
  const r = cayley(skewSymmetric(matrix([[1]]), 2)) as Tensor;
  expect([...(r.data as Float64Array)].map((value) => value + 0)).toEqual([0, -1, 1, 0]);
});

test.for([2, 3, 5, 8, 13])("rotations of size %i are orthogonal and the inverse is one", (size) => {
  const q = skewSymmetric(numbers("q", [3, (size * (size - 1)) / 2], 2), size);
  const r = cayley(q);
  const eye = identityLike(q, size) as Tensor;
  const product = matMul(r, transpose(r, [0, 2, 1])) as Tensor;
  for (let block = 0; block < 3; block++) {
    const one = fromData(
      "float64",
      (product.data as Float64Array).slice(block * size * size, (block + 1) * size * size),
      [size, size],
    );
    expect(largestDifference(one, eye)).toBeLessThan(1e-12);
  }
  const m = numbers("m", [1, size, size]);
  for (let i = 0; i < size; i++) m.data[i * (size + 1)] += 3;
  expect(
    largestDifference(matMul(m, inverse(m)) as Tensor, fromData("float64", eye.data as Float64Array, [1, size, size])),
  ).toBeLessThan(1e-12);
});

test("the series with all terms is Cayley's transform of −Q's opposite sign", () => {
  // (I + Q)(I − Q)⁻¹ = I + 2Q + 2Q² + …
  const q = skewSymmetric(numbers("q", [2, 3], 0.05), 3) as Tensor;
  const minus = fromData(
    "float64",
    (q.data as Float64Array).map((value) => -value),
    q.shape,
  );
  expect(largestDifference(cayleyNeumann(q, 14) as Tensor, cayley(minus) as Tensor)).toBeLessThan(1e-14);
});

test.for([
  [1, [1, 0]],
  [2, [1, 2]],
  [3, [1 - 2, 2 - 1]],
  [4, [1 - 2, 2 - 1]],
  [5, [1 - 2 + 1, 2 - 2]],
] as const)("%i terms of the series, with Q² = −I", ([terms, [diagonal, upper]]) => {
  const r = cayleyNeumann(skewSymmetric(matrix([[1]]), 2), terms) as Tensor;
  expect([...(r.data as Float64Array)].map((value) => value + 0)).toEqual([diagonal, upper, -upper + 0, diagonal]);
});

test("columns turn by blocks, and back by the transpose", () => {
  const x = numbers("x", [4, 6]);
  const blocks = cayley(skewSymmetric(numbers("q", [2, 3]), 3));
  const turned = timesBlocks(x, blocks);
  expect(largestDifference(timesBlocks(turned, blocks, true) as Tensor, x)).toBeLessThan(1e-14);
  const alone = matMul(
    matrix([[...x.data.slice(0, 3)]]),
    fromData("float64", (blocks as Tensor).data.slice(0, 9) as Float64Array, [3, 3]),
  ) as Tensor;
  [...(alone.data as Float64Array)].forEach((value, i) => {
    expect((turned as Tensor).data[i]).toBeCloseTo(value, 14);
  });
});
