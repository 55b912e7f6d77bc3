import { createRandom } from "@loomweight/kernels";
import { expect, test } from "vitest";
import {
  allClose,
  cast,
  equal,
  expectClose,
  format,
  fromData,
  full,
  maxAbsDifference,
  normal,
  relativeL2,
  tensor,
  toFloat64,
  transpose,
  uniform,
  view,
} from "./index.ts";

test("equal compares dtype, shape and bits, not layout", () => {
  const t = tensor([[1, 2], [3, 4]]); // biome-ignore format: a matrix
  expect(equal(t, transpose(tensor([[1, 3], [2, 4]])))).toBe(true); // biome-ignore format: a matrix
  expect(equal(t, tensor([1, 2, 3, 4]))).toBe(false);
  expect(equal(t, cast(t, "float64"))).toBe(false);
  expect(equal(tensor([0]), tensor([-0]))).toBe(false);
  expect(equal(tensor([Number.NaN]), tensor([Number.NaN]))).toBe(true);
  expect(equal(fromData("string", ["a"], [1]), fromData("string", ["b"], [1]))).toBe(false);
});

test("closeness uses the tolerance of the coarser dtype", () => {
  const one = tensor([1], [1], "float64");
  const off = (by: number) => tensor([1 + by], [1], "float64");
  expect(allClose(off(1e-10), one)).toBe(true);
  expect(allClose(off(3e-10), one)).toBe(false);
  expect(allClose(off(1e-5), cast(one, "float32"))).toBe(true);
  expect(allClose(off(0.019), cast(one, "bfloat16"))).toBe(true);
  expect(allClose(off(0.021), cast(one, "bfloat16"))).toBe(false);
  expect(allClose(tensor([2], [1], "int8"), tensor([3], [1], "int8"))).toBe(false);
  expect(allClose(tensor([Number.NaN, Infinity]), tensor([Number.NaN, Infinity]))).toBe(true);
  expect(allClose(tensor([Infinity]), tensor([-Infinity]))).toBe(false);
  expect(allClose(tensor([Number.NaN]), tensor([0]), 1e9)).toBe(false);
  expect(() => allClose(tensor([1]), tensor([1, 2]))).toThrow(/expected has \[2\], actual has \[1\]/);
});

test("expectClose names the worst element", () => {
  expectClose(tensor([1, 2]), tensor([1, 2]));
  expect(() => expectClose(tensor([1, 2.5, 3.1]), tensor([1, 2, 3]))).toThrow(
    /2 of 3 elements differ .* the worst is element 1 of \[3\] \(expected 2, found 2.5\)/,
  );
});

test("differences in numbers", () => {
  expect(maxAbsDifference(tensor([1, -4]), tensor([1.5, -2]))).toBe(2);
  expect(relativeL2(tensor([3, 4]), tensor([0, 0]))).toBe(Number.POSITIVE_INFINITY);
  expect(relativeL2(tensor([3, 5]), tensor([3, 4]))).toBe(0.2);
  expect(relativeL2(tensor([0]), tensor([0]))).toBe(0);
});

test("tensors print with their middle left out when large", () => {
  expect(format(tensor([[1, -0.5], [1e-9, Number.NaN]]))).toBe("float32 [2, 2]\n[[1, -0.5],\n [1e-9, NaN]]"); // biome-ignore format: a matrix
  expect(format(tensor(1.25, [], "float16"))).toBe("float16 [] 1.25");
  expect(format(full([1000], 7, "int64"))).toBe("int64 [1000]\n[7, 7, 7, …, 7, 7, 7]");
  expect(format(full([50, 1], 0), { edge: 1, limit: 10 })).toBe("float32 [50, 1]\n[[0],\n …,\n [0]]");
  expect(format(fromData("string", ["a\u001b[2J"], [1]))).toBe('string [1]\n["a\\\\u001b[2J"]');
  expect(format(tensor([]))).toBe("float32 [0]");
});

test("a view is an ndarray over the same memory", () => {
  const t = transpose(tensor([[1, 2, 3], [4, 5, 6]])); // biome-ignore format: a matrix
  const array = view(t);
  expect(array.shape).toEqual([3, 2]);
  expect(array.get(2, 1)).toBe(6);
  expect(array.data).toBe(t.data);
  expect(view(cast(tensor([1]), "bfloat16")).get(0)).toBe(0x3f80);
  expect(() => view(fromData("string", ["a"], [1]))).toThrow(/found string/);
});

test("random tensors are the draws of their generator, rounded once", () => {
  const random = createRandom(3, "w");
  const t = uniform([4, 5], random, { low: -1, high: 1 });
  expect(t.data[7]).toBe(Math.fround(-1 + 2 * random.uniform(7)));
  const g = normal([3], random, { deviation: 0.02, dtype: "bfloat16" });
  expectClose(
    g,
    tensor(
      Float64Array.from([0, 1, 2], (i) => 0.02 * random.normal(i)),
      [3],
      "float64",
    ),
  );
  expect(g.dtype).toBe("bfloat16");
  expect(toFloat64(normal([2], random, { dtype: "float64", mean: 5 }))[1]).toBe(5 + random.normal(1));
});
