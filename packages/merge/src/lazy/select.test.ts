import fc from "fast-check";
import { expect, test } from "vitest";
import { testKernels, values } from "../../test/support.ts";
import type { MagnitudeCut } from "../magnitude-cut.ts";
import { tensorSource } from "../merge.ts";
import { createEngine, type EngineOptions } from "./engine.ts";
import { fromSource, type LazyTensor } from "./lazy-tensor.ts";
import { selectByCounting, selectLargest } from "./select.ts";

function lazy(numbers: readonly number[], sizes: Partial<EngineOptions> = {}): LazyTensor {
  const engine = createEngine({ kernels: testKernels(), ...sizes });
  return fromSource(tensorSource(values(numbers), "w", "test"), engine);
}

function kept(numbers: readonly number[], cut: MagnitudeCut): number[] {
  return [...numbers.keys()].filter((i) => {
    const magnitude = Math.abs(numbers[i]);
    return magnitude > cut.threshold || (magnitude === cut.threshold && i <= cut.lastIndex);
  });
}

/** By definition: sorted by magnitude, ties by index, the first ones. */
function expected(numbers: readonly number[], keep: number, byIndex = true): number[] {
  const first = [...numbers.keys()].sort((a, b) => Math.abs(numbers[b]) - Math.abs(numbers[a]) || a - b).slice(0, keep);
  return byIndex ? first.sort((a, b) => a - b) : first;
}

const manyTies = fc.array(
  fc.integer({ min: -6, max: 6 }).map((n) => n / 4),
  { minLength: 1, maxLength: 300 },
);
const allDifferent = fc.array(fc.double({ noNaN: true, noDefaultInfinity: true }), { minLength: 1, maxLength: 300 });

test("both ways of selecting keep exactly the largest, ties by the lower index", async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(manyTies, allDifferent), fc.nat(), async (numbers, pick) => {
      const keep = 1 + (pick % numbers.length);
      const wanted = expected(numbers, keep);
      // Zeros are zeros, kept or not.
      const nonZero = (indices: number[]) => indices.filter((i) => numbers[i] !== 0);
      const byCounting = async (tensor: LazyTensor, count: number) =>
        (await selectByCounting([{ tensor, keep: count }]))[0];
      const byDigits = async (tensor: LazyTensor, count: number) =>
        (await selectByCounting([{ tensor, keep: count }], 0))[0];
      for (const select of [selectLargest, byCounting, byDigits]) {
        const tensor = lazy(numbers, { blockSize: 16, tileElements: 32, residentBytes: 0 });
        const found = kept(numbers, await select(tensor, keep));
        tensor.engine.reset();
        expect(nonZero(found)).toEqual(nonZero(wanted));
      }
    }),
  );
});

test("large tensors are cut exactly, with and without ties, whatever the share", async () => {
  const size = 150_000;
  let state = 12345;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const rough = Array.from({ length: size }, () => Math.round((random() + random() - 1) * 64) / 64);
  // The first half is a thousand times smaller: no sample of blocks is like the whole.
  const smooth = Array.from({ length: size }, (_, i) => (random() - 0.5) * (i < size / 2 ? 1e-3 : 1));
  for (const numbers of [rough, smooth]) {
    const order = expected(numbers, size, false);
    for (const keep of [1, 15_000, 75_003, 149_000, size]) {
      const tensor = lazy(numbers);
      const { threshold, lastIndex } = await selectLargest(tensor, keep);
      tensor.engine.reset();
      const last = order[keep - 1];
      expect(threshold === 0 || threshold === Math.abs(numbers[last])).toBe(true);
      // Equal magnitudes lie in a row, ascending by index: the last one kept ends them.
      if (keep < size && threshold > 0) expect(lastIndex).toBe(last);
    }
  }
});

test("cuts asked for side by side, of one tensor and of several, are the cuts asked for one by one", async () => {
  const size = 70_000;
  const engine = createEngine({ kernels: testKernels() });
  const tensors = [1, 2, 3].map((factor) => {
    const numbers = Array.from({ length: size }, (_, i) => (((i * 7919 * factor) % 1009) - 500) / 64);
    return fromSource(tensorSource(values(numbers), "w", `model ${factor}`), engine);
  });
  const requests = [30_000, 7, 69_999, 35_000, 1000].flatMap((keep) => tensors.map((tensor) => ({ tensor, keep })));
  const together = await Promise.all(requests.map(({ tensor, keep }) => selectLargest(tensor, keep)));
  for (const [index, { tensor, keep }] of requests.entries()) {
    expect(together[index]).toEqual(await selectLargest(tensor, keep));
  }
  engine.reset();
});

test("a tensor with NaN or infinity has no cut, and the message says which model", async () => {
  for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
    const tensor = lazy([1, 2, bad, 4]);
    await expect(selectLargest(tensor, 2)).rejects.toThrow(/element 2 is infinite or NaN in test/);
    await expect(selectByCounting([{ tensor, keep: 2 }])).rejects.toThrow(/element 2 is infinite or NaN in test/);
    tensor.engine.reset();
  }
});
