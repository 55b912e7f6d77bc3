import { createKernels } from "@loomweight/kernels";
import { fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { add, div, gemm, mul, sub } from "../index.ts";
import { withKernelMemory } from "./kernel-memory.ts";

const values = (count: number, seed: number) =>
  Float64Array.from({ length: count }, (_, i) => Math.sin(seed + i * 1.7) + 0.1);

test("results in kernel memory equal those on the heap, with operands on either side", () => {
  const kernels = createKernels({ bytes: 1 << 22 });
  const [m, n, k] = [37, 65, 16];
  const [w, a, b] = [values(m * n, 1), values(m * k, 2), values(k * n, 3)];
  const compute = (weight: Tensor) => {
    const sum = gemm(fromData("float64", a, [m, k]), fromData("float64", b, [k, n]), weight);
    return sub(mul(add(sum, sum), sum), div(sum, weight));
  };
  const onHeap = compute(fromData("float64", w, [m, n]));
  const mark = kernels.mark();
  const held = kernels.allocateValues(m * n);
  held.set(w);
  const inKernels = withKernelMemory(kernels, () => compute(fromData("float64", held, [m, n])));
  expect((inKernels.data as Float64Array).buffer).toBe(held.buffer);
  const difference = (inKernels.data as Float64Array).reduce(
    (most, value, i) => Math.max(most, Math.abs(value - (onHeap.data as Float64Array)[i])),
    0,
  );
  expect(difference).toBeLessThan(1e-10);
  expect(held).toEqual(w);
  kernels.release(mark);
});

test("what does not fit into kernel memory goes to the heap", () => {
  const kernels = createKernels({ bytes: 4096 });
  const x = fromData("float64", values(4000, 1), [4000]);
  const sum = withKernelMemory(kernels, () => add(x, x));
  expect((sum.data as Float64Array)[7]).toBe(2 * (x.data as Float64Array)[7]);
});

test("the place is given up when the work throws", () => {
  const kernels = createKernels({ bytes: 4096 });
  expect(() =>
    withKernelMemory(kernels, () => {
      throw new LoomweightError({ code: "TEST", problem: "stop" });
    }),
  ).toThrow("stop");
  const mark = kernels.mark();
  add(fromData("float64", values(4, 1), [4]), 1);
  expect(kernels.mark()).toBe(mark);
});
