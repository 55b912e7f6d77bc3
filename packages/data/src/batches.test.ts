import { fromData, tensor, transpose } from "@loomweight/tensor";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { batches, batchesPerEpoch, batchIndices } from "./batches.ts";
import { sampleCount, sliceSamples, takeSamples } from "./dataset.ts";

const dataset = {
  x: fromData(
    "float32",
    Float32Array.from({ length: 20 }, (_, i) => i),
    [10, 2],
  ),
  label: fromData(
    "int64",
    BigInt64Array.from({ length: 10 }, (_, i) => BigInt(i)),
    [10],
  ),
};

describe("batches", () => {
  test("in order, the rest at the end", () => {
    const labels = [...batches(dataset, { batchSize: 4 })].map(({ label }) =>
      [...(label.data as BigInt64Array)].map(Number),
    );
    expect(labels).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9],
    ]);
    expect([...batches(dataset, { batchSize: 4, rest: "drop" })].length).toBe(2);
  });

  test("rows of all tensors stay together", () => {
    for (const { x, label } of batches(dataset, { batchSize: 3, shuffle: 5 })) {
      for (let i = 0; i < label.shape[0]; i++) expect(x.data[2 * i]).toBe(2 * Number(label.data[i]));
    }
  });

  test("every epoch takes every sample once, in an order of its own that depends on the seed alone", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 40 }),
        fc.integer({ min: 1, max: 9 }),
        fc.nat(99),
        (count, batchSize, seed) => {
          const orders = (epochs: number) => {
            const all = [...batchIndices(count, { batchSize, epochs, shuffle: seed })].flatMap((indices) => [
              ...indices,
            ]);
            return Array.from({ length: epochs }, (_, e) => all.slice(e * count, (e + 1) * count));
          };
          const [first, second] = orders(2);
          expect([...first].sort((a, b) => a - b)).toEqual(Array.from({ length: count }, (_, i) => i));
          expect(new Set(second).size).toBe(count);
          if (count > 12) expect(second).not.toEqual(first);
          expect(orders(1)[0]).toEqual(first);
        },
      ),
      { seed: 1, numRuns: 50 },
    );
  });

  test("skipping goes on where a run ended, across epochs", () => {
    const options = { batchSize: 3, epochs: 3, shuffle: 1 };
    const all = [...batchIndices(10, options)].map((indices) => [...indices]);
    expect(all.length).toBe(3 * batchesPerEpoch(10, options));
    for (const skip of [0, 1, 4, 5, 11, 12]) {
      expect([...batchIndices(10, { ...options, skip })].map((indices) => [...indices])).toEqual(all.slice(skip));
    }
  });

  test("too few samples for one batch end at once, also without end", () => {
    expect([...batchIndices(2, { batchSize: 3, rest: "drop", epochs: Number.POSITIVE_INFINITY })]).toEqual([]);
  });

  test("bad options are refused", () => {
    for (const bad of [
      { batchSize: 0 },
      { batchSize: 1.5 },
      { batchSize: 1, epochs: -1 },
      { batchSize: 1, skip: -1 },
    ]) {
      expect(() => [...batchIndices(3, bad)]).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
    }
  });
});

describe("datasets", () => {
  test("a slice is a view, a choice a copy", () => {
    const part = sliceSamples(dataset, 2, 5);
    expect(part.x.data).toBe(dataset.x.data);
    expect(sampleCount(part)).toBe(3);
    expect([...takeSamples(part, [2, 0]).label.data]).toEqual([4n, 2n]);
    expect([...takeSamples(part, [1]).x.data]).toEqual([6, 7]);
  });

  test("transposed tensors and text are taken by row too", () => {
    const turned = transpose(
      tensor([
        [1, 2, 3],
        [4, 5, 6],
      ]),
    );
    const words = fromData("string", ["a", "b", "c"], [3]);
    const taken = takeSamples({ turned, words }, [2, 1]);
    expect([...taken.turned.data]).toEqual([3, 6, 2, 5]);
    expect(taken.words.data).toEqual(["c", "b"]);
  });

  test("tensors that disagree and samples that are not there are refused by name", () => {
    expect(() => sampleCount({ ...dataset, other: tensor([1, 2]) })).toThrow(/"other"/);
    expect(() => sampleCount({ one: tensor(3, []) })).toThrow(expect.objectContaining({ code: "SHAPE_MISMATCH" }));
    expect(() => takeSamples(dataset, [10])).toThrow(expect.objectContaining({ code: "INVALID_RANGE" }));
    expect(() => sliceSamples(dataset, 3, 11)).toThrow(expect.objectContaining({ code: "INVALID_RANGE" }));
  });
});
