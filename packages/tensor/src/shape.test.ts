import fc from "fast-check";
import { expect, test } from "vitest";
import {
  broadcast,
  broadcastShapes,
  concatenate,
  equal,
  fromData,
  full,
  isContiguous,
  reshape,
  scalar,
  slice,
  tensor,
  toNumbers,
  transpose,
} from "./index.ts";
import { contiguousData } from "./tensor.ts";

const matrix = tensor([
  [0, 1, 2],
  [3, 4, 5],
]);

test("nested arrays give their shape, and flat ones the shape that is asked for", () => {
  expect(matrix).toMatchObject({ dtype: "float32", shape: [2, 3], stride: [3, 1], offset: 0 });
  expect(equal(tensor([0, 1, 2, 3, 4, 5], [2, 3]), matrix)).toBe(true);
  expect(tensor(new Float32Array([1, 2]), [2, 1], "bfloat16").data).toEqual(new Uint16Array([0x3f80, 0x4000]));
  expect(scalar(7, "int64")).toMatchObject({ shape: [], data: new BigInt64Array([7n]) });
  expect(tensor([], undefined, "int8")).toMatchObject({ shape: [0] });
  expect(tensor([true, false], [2], "bool").data).toEqual(new Uint8Array([1, 0]));
  expect([...tensor([2n ** 64n - 1n, -1n, 2n ** 65n], [3], "uint64").data]).toEqual([
    2n ** 64n - 1n,
    0n,
    2n ** 64n - 1n,
  ]);
  expect(full([2, 2], 0.5, "float16").data).toEqual(new Uint16Array(4).fill(0x3800));
});

test("ragged, too deep and mixed arrays and unfilled shapes are refused", () => {
  expect(() => tensor([[1, 2], [3]])).toThrow(
    /nested arrays do not form a tensor \(expected 2 entries on axis 1, found 1/,
  );
  expect(() => tensor([1, [2]] as never)).toThrow(/expected numbers at depth 1, found an array/);
  expect(() => tensor([[1], 2] as never)).toThrow(/expected 1 entries on axis 1, found 2/);
  expect(() => tensor(["x"] as never)).toThrow(/expected numbers at depth 1/);
  const endless: unknown[] = [];
  endless.push(endless);
  expect(() => tensor(endless as never)).toThrow(/at most 32 axes/);
  expect(() => tensor([1, 2, 3], [2, 2])).toThrow(/shape has \[2,2\], values has \[3\]/);
});

test("reshape keeps the elements' order and views where it can", () => {
  const t = reshape(matrix, [3, -1]);
  expect(t.data).toBe(matrix.data);
  expect(toNumbers(t)).toEqual([[0, 1], [2, 3], [4, 5]]); // biome-ignore format: a matrix
  expect(toNumbers(reshape(transpose(matrix), [6]))).toEqual([0, 3, 1, 4, 2, 5]);
  expect(toNumbers(reshape(slice(matrix, [{ start: 1 }]), [3]))).toEqual([3, 4, 5]);
  expect(() => reshape(matrix, [4])).toThrow(/tensor has \[2,3\], wanted shape has \[4\]/);
  expect(() => reshape(matrix, [-1, -1])).toThrow(/wanted shape/);
  expect(() => reshape(matrix, [4, -1])).toThrow(/wanted shape/);
});

test("transpose permutes axes without moving data", () => {
  const t = tensor(Array.from({ length: 24 }, (_, i) => i), [2, 3, 4]); // biome-ignore format: one line
  const moved = transpose(t, [2, 0, 1]);
  expect(moved.shape).toEqual([4, 2, 3]);
  expect((toNumbers(moved) as number[][][])[3][1][2]).toBe(23);
  expect((toNumbers(moved) as number[][][])[1][0][2]).toBe(9);
  expect(equal(transpose(moved, [1, 2, 0]), t)).toBe(true);
  expect(() => transpose(t, [0, 0, 1])).toThrow(/each of 3 axes once/);
  expect(() => transpose(t, [0, 1])).toThrow(/each of 3 axes once/);
  expect(() => transpose(t, [0, 1, 3])).toThrow(/no such axis/);
});

test("slices equal the same slices of arrays", () => {
  const bound = fc.option(fc.integer({ min: -8, max: 8 }), { nil: undefined });
  fc.assert(
    fc.property(fc.nat(6), bound, bound, fc.integer({ min: 1, max: 4 }), (size, start, end, step) => {
      const rows = Array.from({ length: size }, (_, i) => [i, i + 0.5]);
      const t = tensor(rows, [size, 2]);
      const wanted = rows.slice(start, end).filter((_, i) => i % step === 0);
      expect(toNumbers(slice(t, [{ start, end, step }]))).toEqual(wanted);
      expect(toNumbers(slice(transpose(t), [undefined, { start, end, step }]))).toEqual(
        [0, 1].map((j) => wanted.map((row) => row[j])),
      );
    }),
  );
  expect(() => slice(matrix, [{ step: 0 }])).toThrow(/step at least 1/);
  expect(() => slice(matrix, [{}, {}, {}])).toThrow(/too many ranges/);
});

test("broadcast repeats by NumPy's rule", () => {
  expect(broadcastShapes([2, 1, 3], [4, 1], [])).toEqual([2, 4, 3]);
  expect(broadcastShapes([0], [1])).toEqual([0]);
  expect(() => broadcastShapes([2, 3], [2])).toThrow(/Sizes must be equal or 1/);
  const column = tensor([[1], [2]]);
  const wide = broadcast(column, [2, 2, 3]);
  expect(wide.data).toBe(column.data);
  expect(isContiguous(wide)).toBe(false);
  expect(toNumbers(wide)).toEqual([[[1, 1, 1], [2, 2, 2]], [[1, 1, 1], [2, 2, 2]]]); // biome-ignore format: nested
  expect(() => broadcast(column, [2])).toThrow(/shape mismatch/);
  expect(() => broadcast(matrix, [2, 4])).toThrow(/shape mismatch/);
});

test("concatenate joins along any axis, strided parts, pairs and text too", () => {
  expect(toNumbers(concatenate([matrix, matrix], 1))).toEqual([[0, 1, 2, 0, 1, 2], [3, 4, 5, 3, 4, 5]]); // biome-ignore format: a matrix
  const tall = concatenate([transpose(matrix), tensor([[9, 9]])], -2);
  expect(toNumbers(tall)).toEqual([[0, 3], [1, 4], [2, 5], [9, 9]]); // biome-ignore format: a matrix
  const pairs = fromData("complex64", new Float32Array([1, 2]), [1]);
  expect(concatenate([pairs, pairs]).data).toEqual(new Float32Array([1, 2, 1, 2]));
  expect(concatenate([fromData("string", ["a"], [1]), fromData("string", ["b"], [1])]).data).toEqual(["a", "b"]);
  expect(() => concatenate([matrix, tensor([[1, 2]])])).toThrow(/tensors\[1\] \(float32\) has \[1,2\]/);
  expect(() => concatenate([])).toThrow(/at least one tensor/);
  expect(() => concatenate([scalar(1)])).toThrow(/no such axis/);
});

test("a turned matrix, also a part of one, is copied element by element", () => {
  for (const [rows, columns] of [
    [1, 70],
    [33, 65],
    [64, 32],
  ]) {
    const whole = fromData(
      "int32",
      Int32Array.from({ length: rows * columns }, (_, i) => i),
      [rows, columns],
    );
    const part = slice(transpose(whole, [1, 0]), [{ start: 1 }, {}]);
    const expected = Array.from(
      { length: (columns - 1) * rows },
      (_, i) => (i % rows) * columns + Math.floor(i / rows) + 1,
    );
    expect([...(contiguousData(part) as Int32Array)]).toEqual(expected);
  }
});
