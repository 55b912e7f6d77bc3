import fc from "fast-check";
import { expect, test } from "vitest";
import { double, doubles, expectTwins, plain, values, wasm } from "../test/twins.ts";
import { createKernels, createRandom, type Kernels, kernelModule, rankScratchBytes } from "./index.ts";

/** `rows` of equal length `n`: what is missing is a small whole number. */
function table(kernels: Kernels, rows: readonly (readonly number[])[], n: number): Float64Array[] {
  return rows.map((row) =>
    values(
      kernels,
      Float64Array.from({ length: n }, (_, i) => row[i] ?? (i % 5) - 2),
    ),
  );
}

const weights = fc.array(fc.oneof(double, fc.constantFrom(0.5, 0.25, -0.5, 1)), { minLength: 5, maxLength: 5 });

test("weightedConsensus, electedMean and variance equal their plain twins", () => {
  fc.assert(
    fc.property(
      fc.nat(9),
      fc.array(doubles, { maxLength: 5 }),
      weights,
      fc.boolean(),
      fc.constantFrom(1e-8, 0.5, 1e-6),
      (n, rows, given, normalize, limit) => {
        expectTwins((kernels) => {
          const inputs = table(kernels, rows, n);
          const own = given.slice(0, inputs.length);
          const [merged, elected, spread] = [0, 1, 2].map(() => kernels.allocateValues(n));
          const base = table(kernels, [[-0, 0, 1]], n)[0];
          const isBad = kernels.weightedConsensus(merged, inputs, own, normalize, limit);
          kernels.electedMean(elected, base, inputs, own, limit);
          kernels.variance(spread, inputs);
          return [merged, elected, spread, isBad ? 1 : 0];
        });
      },
    ),
    { numRuns: 500 },
  );
});

test("weightedConsensus is signConsensus of the weighted inputs, divided", () => {
  const mark = wasm.mark();
  const inputs = [
    [1, -3, 0, 4],
    [2, 1, 0, -4],
    [-1, -1, 0, 0],
  ].map((row) => values(wasm, row));
  const out = wasm.allocateValues(4);
  expect(wasm.weightedConsensus(out, inputs, [0.5, 0.25, 2], true, 1e-8)).toBe(false);
  // Sums −1, −3.25, 0, 1: of the first only the third input agrees, of the second the first and third.
  expect([...out]).toEqual([-2 / 2, -3.5 / 2.5, 0, 2 / 0.5]);
  inputs[2][3] = Number.POSITIVE_INFINITY;
  expect(wasm.weightedConsensus(out, inputs, [0.5, 0.25, 2], true, 1e-8)).toBe(true);
  expect(() => wasm.weightedConsensus(inputs[0], inputs, [1, 1, 1], true, 0)).toThrow(/`out` is one of the inputs/);
  wasm.release(mark);
});

test("keepWhere and keepBits equal their plain twins from any bit", () => {
  fc.assert(
    fc.property(
      doubles,
      doubles,
      fc.nat(30),
      fc.uint8Array({ minLength: 10, maxLength: 10 }),
      (a, b, first, source) => {
        const n = Math.min(a.length, b.length);
        expectTwins((kernels) => {
          const [kept, thinned] = [kernels.allocateValues(n), kernels.allocateValues(n)];
          const input = values(kernels, a.slice(0, n));
          const bits = kernels.allocate(10);
          bits.set(source);
          kernels.keepWhere(kept, input, values(kernels, b.slice(0, n)));
          kernels.keepBits(thinned, input, bits, first);
          for (let i = 0; i < n; i++) {
            const isKept = (source[(first + i) >> 3] >> ((first + i) & 7)) & 1;
            expect(thinned[i]).toBe(input[i] * isKept);
          }
          return [kept, thinned];
        });
      },
    ),
    { numRuns: 300 },
  );
});

test("nonZeroBits notes what keepWhere keeps", () => {
  fc.assert(
    fc.property(fc.array(fc.oneof(fc.constantFrom(0, -0), double), { maxLength: 45 }), (a) => {
      expectTwins((kernels) => {
        const where = values(kernels, a);
        const ones = values(kernels, new Array(a.length).fill(1));
        const bits = kernels.allocate(Math.ceil(a.length / 8)).fill(255);
        const [kept, thinned] = [kernels.allocateValues(a.length), kernels.allocateValues(a.length)];
        kernels.nonZeroBits(bits, where);
        kernels.keepWhere(kept, ones, where);
        kernels.keepBits(thinned, ones, bits, 0);
        expect([...thinned]).toEqual([...kept]);
        return [bits, kept];
      });
    }),
  );
});

test("countNonZero and findMagnitude count and find by definition", () => {
  const small = fc.oneof(fc.integer({ min: -2, max: 2 }), double);
  fc.assert(
    fc.property(fc.array(small, { maxLength: 40 }), fc.nat(3), fc.integer({ min: 1, max: 12 }), (a, magnitude, nth) => {
      const places = [...a.keys()].filter((i) => Math.abs(a[i]) === magnitude);
      const expected = places[nth - 1] ?? -1 - places.length;
      for (const kernels of [wasm, plain]) {
        const mark = kernels.mark();
        const input = values(kernels, a);
        expect(kernels.countNonZero(input)).toBe(a.filter((x) => x !== 0).length);
        expect(kernels.findMagnitude(input, magnitude, nth)).toBe(expected);
        kernels.release(mark);
      }
    }),
    { numRuns: 300 },
  );
});

test("random words and Bernoulli bits equal their plain twins and the mask, from any start", () => {
  fc.assert(
    fc.property(
      fc.nat(90),
      fc.oneof(fc.maxSafeNat(), fc.integer({ min: 2 ** 34 - 70, max: 2 ** 34 }), fc.nat(9)),
      fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 1)),
      fc.nat(),
      (n, from, probability, seed) => {
        const { key } = createRandom(seed, "bits");
        const start = Math.min(from, Number.MAX_SAFE_INTEGER - n);
        expectTwins((kernels) => {
          const block = kernels.allocate(4 * n);
          const words = new Uint32Array(block.buffer, block.byteOffset, n);
          const mask = kernels.allocateValues(n);
          const bits = kernels.allocate(Math.ceil(n / 8)).fill(255);
          kernels.randomWords(words, key, start);
          kernels.bernoulliMask(mask, key, start, probability);
          kernels.bernoulliBits(bits, n, key, start, probability);
          for (let i = 0; i < n; i++) expect((bits[i >> 3] >> (i & 7)) & 1).toBe(mask[i]);
          return [words, bits];
        });
      },
    ),
    { numRuns: 300 },
  );
});

const magnitude = fc.oneof(
  fc.float(),
  fc.integer({ min: -3, max: 3 }).map((n) => n / 4),
  fc.integer({ min: -4000, max: 4000 }).map((n) => n * 2 ** -14), // differences of 16-bit weights
);

test("keepByRank equals its plain twin for rows of every kind, interleaved or not", () => {
  fc.assert(
    fc.property(
      fc.array(magnitude, { minLength: 1, maxLength: 200 }),
      fc.integer({ min: 1, max: 3 }),
      fc.nat(9),
      fc.double({ min: 0.01, max: 0.5, noNaN: true }),
      fc.nat(),
      (source, inner, first, low, seed) => {
        const rowLength = Math.ceil(source.length / inner);
        const size = rowLength * inner;
        expectTwins((kernels) => {
          const floats = kernels.allocate(4 * size);
          const magnitudes = new Float32Array(floats.buffer, floats.byteOffset, size);
          for (let i = 0; i < size; i++) magnitudes[i] = source[i] ?? i;
          const drawn = kernels.allocate(4 * size);
          const words = new Uint32Array(drawn.buffer, drawn.byteOffset, size);
          kernels.randomWords(words, createRandom(seed, "rank").key, 0);
          const bits = kernels.allocate(Math.ceil((first + size) / 8));
          const scratch = kernels.allocate(rankScratchBytes(rowLength)).fill(170);
          kernels.keepByRank(bits, first, magnitudes, words, inner, { low, step: 0.4 / rowLength }, scratch);
          return [bits];
        });
      },
    ),
    { numRuns: 500 },
  );
});

test("long rows are ranked right with one, two and three digits", () => {
  const size = 5000;
  const random = createRandom(3, "long rows");
  const kinds = [
    (i: number) => Math.round(random.uniform(i) * 200), // few values
    (i: number) => Math.round(random.normal(i) * 50) * 2 ** -14,
    (i: number) => random.normal(i),
    (i: number) => (i % 3 === 0 ? 0 : random.normal(i) * 2 ** (i % 200)),
    () => 0,
  ];
  for (const kind of kinds) {
    const results = [createKernels({ bytes: 2 ** 20 }), plain].map((kernels) => {
      const mark = kernels.mark();
      const floats = kernels.allocate(4 * size);
      const magnitudes = new Float32Array(floats.buffer, floats.byteOffset, size).map((_, i) => kind(i));
      new Float32Array(floats.buffer, floats.byteOffset, size).set(magnitudes);
      const drawn = kernels.allocate(4 * size);
      const words = new Uint32Array(drawn.buffer, drawn.byteOffset, size);
      kernels.randomWords(words, random.key, 0);
      const bits = kernels.allocate(size / 8);
      const scratch = kernels.allocate(rankScratchBytes(size));
      const probability = { low: 0.3, step: 0.4 / size };
      const view = new Float32Array(floats.buffer, floats.byteOffset, size);
      kernels.keepByRank(bits, 0, view, words, 1, probability, scratch);
      const result = bits.slice();
      kernels.release(mark);
      return result;
    });
    expect(results[0]).toEqual(results[1]);
  }
});

test("arguments of the selecting kernels are checked by name", () => {
  for (const kernels of [wasm, plain]) {
    const mark = kernels.mark();
    const a = kernels.allocateValues(9);
    const bits = kernels.allocate(1);
    expect(() => kernels.keepBits(a, a, bits, 0)).toThrow(/keepBits: `bits` is too short/);
    expect(() => kernels.bernoulliBits(bits, 9, [1, 2], 0, 0.5)).toThrow(/bernoulliBits: `bits` is too short/);
    expect(() => kernels.findMagnitude(a, 0, 0)).toThrow(/occurrence/);
    expect(() => kernels.variance(a, [a])).toThrow(/`out` is one of the inputs/);
    const block = kernels.allocate(24);
    const magnitudes = new Float32Array(block.buffer, block.byteOffset, 6);
    const words = new Uint32Array(block.buffer, block.byteOffset, 6);
    const scratch = kernels.allocate(rankScratchBytes(3));
    const probability = { low: 0.5, step: 0 };
    expect(() => kernels.keepByRank(bits, 0, magnitudes, words, 4, probability, scratch)).toThrow(/wrong `inner`/);
    expect(() => kernels.keepByRank(bits, 0, magnitudes, words, 1, probability, scratch)).toThrow(/`scratch`/);
    expect(() => kernels.keepByRank(bits, 3, magnitudes, words, 2, probability, scratch)).toThrow(/`bits`/);
    kernels.release(mark);
  }
});

test("kernels can be made from a module that was handed over", () => {
  const module = kernelModule();
  const kernels = createKernels({ bytes: 1024, module });
  expect(kernels.engine).toBe("wasm");
  const a = values(kernels, [1, 2, 3]);
  expect(kernels.sum(a)).toBe(6);
});
