import fc from "fast-check";
import { expect, test } from "vitest";
import { bitsOf, double, doubles, expectTwins, misaligned, nudgeBits, plain, values, wasm } from "../test/twins.ts";
import { codeBytes, createKernels, type KernelDType, plainKernels, wasmSupported } from "./index.ts";

const dtypes = Object.keys(codeBytes) as KernelDType[];

test("this engine runs the WebAssembly kernels, so that the comparisons below compare two things", () => {
  expect(wasmSupported()).toBe(true);
  expect([wasm.engine, plain.engine]).toEqual(["wasm", "plain"]);
});

for (const dtype of dtypes) {
  test(`load, addScaledCodes and subtractFromCodes of ${dtype} equal their plain twins for any codes at any alignment`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(7), double, (source, offset, weight) => {
        const count = Math.floor(source.length / codeBytes[dtype]);
        expectTwins((kernels) => {
          const codes = misaligned(kernels, count * codeBytes[dtype], offset);
          codes.set(source.subarray(0, codes.length));
          const out = kernels.allocateValues(count);
          kernels.load(out, dtype, codes);
          const sums = values(
            kernels,
            Float64Array.from({ length: count }, (_, i) => i / 3),
          );
          kernels.addScaledCodes(sums, dtype, codes, weight);
          const differences = kernels.allocateValues(count);
          kernels.subtractFromCodes(differences, dtype, codes, sums);
          kernels.subtractFromCodes(sums, dtype, codes, sums); // in place
          return [out, differences, sums];
        });
      }),
      { numRuns: 200 },
    );
  });

  test(`store to ${dtype} equals its plain twin for any values at any alignment`, () => {
    fc.assert(
      fc.property(doubles, fc.nat(7), (source, offset) => {
        expectTwins((kernels) => {
          const codes = misaligned(kernels, source.length * codeBytes[dtype], offset);
          kernels.store(dtype, codes, values(kernels, source));
          return [codes];
        });
      }),
      { numRuns: 500 },
    );
  });
}

for (const dtype of ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu"] as const) {
  test(`store of ${dtype} rounds to the nearest code, ties to even, by comparing with every neighbour`, () => {
    const size = codeBytes[dtype] === 2 ? 65536 : 256;
    const mark = wasm.mark();
    const codes = wasm.allocate(size * codeBytes[dtype]);
    const all = codeBytes[dtype] === 2 ? new Uint16Array(codes.buffer, codes.byteOffset, size) : codes;
    for (let code = 0; code < size; code++) all[code] = code;
    const table = wasm.allocateValues(size);
    wasm.load(table, dtype, codes);
    // Finite codes that are not negative, ascending.
    const finite = [...table.keys()].filter(
      (code) => Number.isFinite(table[code]) && !Object.is(Math.sign(table[code]), -1) && !Object.is(table[code], -0),
    );
    const inputs: number[] = [];
    const expected: number[] = [];
    for (let i = 0; i + 1 < finite.length; i++) {
      const [low, high] = [finite[i], finite[i + 1]];
      const middle = (table[low] + table[high]) / 2;
      inputs.push(table[low], nudgeBits(middle, -1), middle, nudgeBits(middle, 1));
      expected.push(low, low, low % 2 === 0 ? low : high, high);
    }
    const source = values(wasm, inputs);
    const target = wasm.allocate(inputs.length * codeBytes[dtype]);
    wasm.store(dtype, target, source);
    const found = codeBytes[dtype] === 2 ? new Uint16Array(target.buffer, target.byteOffset, inputs.length) : target;
    expect(Array.from(found)).toEqual(expected);
    wasm.release(mark);
  });
}

test("every float16 and bfloat16 code survives load and store, NaN as the one NaN", () => {
  for (const dtype of ["bfloat16", "float16"] as const) {
    const mark = wasm.mark();
    const codes = wasm.allocate(2 * 65536);
    const all = new Uint16Array(codes.buffer, codes.byteOffset, 65536);
    for (let code = 0; code < 65536; code++) all[code] = code;
    const table = wasm.allocateValues(65536);
    wasm.load(table, dtype, codes);
    const before = all.slice();
    wasm.store(dtype, codes, table);
    const nan = dtype === "bfloat16" ? 0x7fc0 : 0x7e00;
    expect(all).toEqual(before.map((code, i) => (Number.isNaN(table[i]) ? nan : code)));
    wasm.release(mark);
  }
});

test("element-wise kernels equal their plain twins", () => {
  fc.assert(
    fc.property(doubles, doubles, double, double, (first, second, x, y) => {
      const n = Math.min(first.length, second.length);
      expectTwins((kernels) => {
        const a = values(kernels, first.slice(0, n));
        const b = values(kernels, second.slice(0, n));
        const results: Float64Array[] = [];
        const next = () => {
          const out = kernels.allocateValues(n);
          results.push(out);
          return out;
        };
        kernels.add(next(), a, b);
        kernels.subtract(next(), a, b);
        kernels.multiply(next(), a, b);
        kernels.divide(next(), a, b);
        kernels.affine(next(), a, x, y);
        kernels.abs(next(), a);
        kernels.sqrt(next(), a);
        kernels.clamp(next(), a, x, y);
        kernels.keepAbove(next(), a, x);
        kernels.fill(next(), y);
        kernels.addScaled(results[0], b, y);
        kernels.add(results[1], results[1], a); // in place
        return results;
      });
    }),
    { numRuns: 500 },
  );
});

test("sign consensus equals its plain twin", () => {
  fc.assert(
    fc.property(
      fc.nat(33),
      fc.array(doubles, { maxLength: 5 }),
      fc.array(double, { minLength: 5, maxLength: 5 }),
      (n, rows, weights) => {
        expectTwins((kernels) => {
          const inputs = rows.map((row) =>
            values(
              kernels,
              Float64Array.from({ length: n }, (_, i) => row[i] ?? i - 3),
            ),
          );
          const [sum, weightSum] = [kernels.allocateValues(n), kernels.allocateValues(n)];
          kernels.signConsensus(sum, weightSum, inputs, weights.slice(0, inputs.length));
          return [sum, weightSum];
        });
      },
    ),
    { numRuns: 500 },
  );
});

test("sign consensus keeps the entries that agree with the sign of the sum", () => {
  const mark = wasm.mark();
  const inputs = [
    [1, -3, 0],
    [2, 1, 0],
    [-1, -1, 0],
  ].map((row) => values(wasm, row));
  const [sum, weightSum] = [wasm.allocateValues(3), wasm.allocateValues(3)];
  wasm.signConsensus(sum, weightSum, inputs, [0.5, 0.25, 2]);
  expect([...sum]).toEqual([3, -4, 0]);
  expect([...weightSum]).toEqual([0.75, 2.5, 0]);
  wasm.release(mark);
});

test("reductions equal their plain twins", () => {
  fc.assert(
    fc.property(doubles, doubles, (first, second) => {
      const n = Math.min(first.length, second.length);
      expectTwins((kernels) => {
        const a = values(kernels, first.slice(0, n));
        const b = values(kernels, second.slice(0, n));
        return [kernels.sum(a), kernels.sumAbs(a), kernels.dot(a, b), kernels.maxAbs(a), kernels.firstNonFinite(a)];
      });
    }),
    { numRuns: 500 },
  );
});

test("reductions of whole numbers are exact", () => {
  const mark = wasm.mark();
  const a = values(
    wasm,
    Array.from({ length: 1003 }, (_, i) => (i % 2 === 0 ? i : -i)),
  );
  expect(wasm.sum(a)).toBe(501);
  expect(wasm.sumAbs(a)).toBe((1002 * 1003) / 2);
  expect(wasm.dot(a, a)).toBe((1002 * 1003 * 2005) / 6);
  expect(wasm.maxAbs(a)).toBe(1002);
  expect(wasm.firstNonFinite(a)).toBe(-1);
  a[777] = Number.NEGATIVE_INFINITY;
  expect(wasm.firstNonFinite(a)).toBe(777);
  wasm.release(mark);
});

test("radix selection by countMagnitudes finds the k-th largest magnitude", () => {
  fc.assert(
    fc.property(fc.array(double, { minLength: 1, maxLength: 60 }), fc.nat(), (source, pick) => {
      const magnitudes = Float64Array.from(source, Math.abs);
      const sorted = bitsOf(magnitudes).sort().reverse();
      const k = pick % sorted.length;
      for (const kernels of [wasm, plain]) {
        const mark = kernels.mark();
        const a = values(
          kernels,
          source.map((x) => (Number.isNaN(x) ? Number.NaN : x)),
        );
        const block = kernels.allocate(4 * 65536);
        const counts = new Uint32Array(block.buffer, block.byteOffset, 65536);
        let prefix = 0n;
        let remaining = k;
        for (const level of [0, 1, 2, 3] as const) {
          counts.fill(0);
          kernels.countMagnitudes(counts, a, level, prefix);
          let digit = 65535;
          while (counts[digit] <= remaining) remaining -= counts[digit--];
          prefix = (prefix << 16n) | BigInt(digit);
        }
        expect(prefix).toBe(sorted[k]);
        kernels.release(mark);
      }
    }),
    { numRuns: 60 },
  );
});

test("countWords counts a bracket and what lies above it, and tells which words stand for one value", () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(double, fc.integer({ min: 1, max: 9 })), { maxLength: 60 }),
      fc.nat(59),
      fc.integer({ min: 1, max: 5000 }),
      (source, pick, width) => {
        const plainNaN = source.map((x) => (Number.isNaN(x) ? Number.NaN : x));
        const bits = plainNaN.map((x) => bitsOf(Float64Array.of(Math.abs(x)))[0]);
        const words = bits.map((each) => Number(each >> 32n));
        const low = Math.min(2 ** 31 - width, words[pick] ?? 0);
        expectTwins((kernels) => {
          const a = values(kernels, plainNaN);
          const [block, room] = [kernels.allocate(12 * width), kernels.allocate(4 * a.length)];
          const counts = new Uint32Array(block.buffer, block.byteOffset, 3 * width);
          const places = new Uint32Array(room.buffer, room.byteOffset, a.length);
          const above = kernels.countWords(counts, a, low);
          expect(above).toBe(words.filter((word) => word >= low + width).length);
          for (const word of new Set(words.filter((each) => each >= low && each < low + width))) {
            const own = [...words.keys()].filter((i) => words[i] === word);
            const [count, or, complements] = counts.subarray(3 * (word - low));
            expect(count).toBe(own.length);
            expect((or & complements) === 0).toBe(new Set(own.map((i) => bits[i])).size === 1);
            expect(kernels.findWord(places, a, word)).toBe(own.length);
            expect([...places.subarray(0, own.length)]).toEqual(own);
          }
          return [above, counts];
        });
      },
    ),
  );
});

test("divideUnlessSmall divides where the divisor is not small", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(double, double), { maxLength: 9 }), double, (pairs, limit) => {
      expectTwins((kernels) => {
        const [a, b] = [0, 1].map((part) =>
          values(
            kernels,
            pairs.map((pair) => pair[part]),
          ),
        );
        const out = kernels.allocateValues(pairs.length);
        kernels.divideUnlessSmall(out, a, b, limit);
        return [out];
      });
    }),
  );
});

test("gemm equals its plain twin for any sizes", () => {
  const size = fc.oneof(fc.nat(9), fc.constantFrom(63, 64, 65, 127, 129));
  fc.assert(
    fc.property(
      size,
      size,
      fc.oneof(fc.nat(9), fc.constantFrom(255, 256, 257, 300)),
      double,
      fc.nat(),
      (m, n, k, alpha, seed) => {
        const entry = (i: number) => Math.fround(((i * 2654435761 + seed) % 1000003) / 500001 - 1);
        expectTwins((kernels) => {
          const a = values(
            kernels,
            Float64Array.from({ length: m * k }, (_, i) => entry(i)),
          );
          const b = values(
            kernels,
            Float64Array.from({ length: k * n }, (_, i) => entry(i + 7)),
          );
          const out = values(
            kernels,
            Float64Array.from({ length: m * n }, (_, i) => entry(i + 13)),
          );
          kernels.gemm(out, a, b, m, n, k, alpha);
          return [out];
        });
      },
    ),
    { numRuns: 40 },
  );
});

test("gemm of whole numbers is exact", () => {
  const mark = wasm.mark();
  const [m, n, k] = [5, 7, 261];
  const a = values(
    wasm,
    Array.from({ length: m * k }, (_, i) => (i % 11) - 5),
  );
  const b = values(
    wasm,
    Array.from({ length: k * n }, (_, i) => (i % 7) - 3),
  );
  const out = values(wasm, new Array(m * n).fill(1));
  wasm.gemm(out, a, b, m, n, k, -2);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let p = 0; p < k; p++) sum += a[i * k + p] * b[p * n + j];
      expect(out[i * n + j]).toBe(1 - 2 * sum);
    }
  }
  wasm.release(mark);
});

test("memory is zeroed, aligned, freed in order, and refuses what does not fit", () => {
  for (const make of [createKernels, plainKernels]) {
    const kernels = make({ bytes: 1000 });
    expect(kernels.capacity).toBeGreaterThanOrEqual(1000);
    const mark = kernels.mark();
    const first = kernels.allocate(3);
    first.fill(9);
    expect(kernels.allocate(1).byteOffset % 16).toBe(0);
    kernels.release(mark);
    expect([...kernels.allocate(3)]).toEqual([0, 0, 0]);
    expect(() => kernels.allocate(2 ** 30)).toThrow(/kernel memory is used up/);
    expect(() => kernels.allocate(-1)).toThrow(/whole number of bytes/);
    expect(() => kernels.release(Number.NaN)).toThrow(/mark/);
    expect(() => kernels.release(2 ** 31)).toThrow(/mark/);
    expect(() => make({ bytes: -5 })).toThrow(/option bytes/);
  }
});

test("arrays elsewhere, of wrong length or of an unknown dtype are refused by name", () => {
  for (const kernels of [createKernels({ bytes: 4096 }), plainKernels({ bytes: 4096 })]) {
    const a = kernels.allocateValues(4);
    const b = kernels.allocateValues(5);
    expect(() => kernels.add(a, a, b)).toThrow(/add: `b` has a wrong length \(expected 4, found 5\)/);
    expect(() => kernels.add(a, a, new Float64Array(4))).toThrow(/add: `b` is not in kernel memory/);
    expect(() => kernels.load(a, "float16", kernels.allocate(7))).toThrow(
      /expected 8 bytes \(4 float16\), found 7 bytes/,
    );
    expect(() => kernels.load(a, "int4" as KernelDType, kernels.allocate(4))).toThrow(/unknown dtype/);
    expect(() => kernels.bernoulliMask(a, [1, 2], -1, 0.5)).toThrow(/start/);
    expect(() => kernels.bernoulliMask(a, [1, 2], 0, Number.NaN)).toThrow(/probability/);
  }
});

test("the Bernoulli mask equals its plain twin from any start", () => {
  fc.assert(
    fc.property(
      fc.nat(70),
      fc.oneof(fc.maxSafeNat(), fc.integer({ min: 2 ** 34 - 70, max: 2 ** 34 })), // the counter's lower word runs over there

      fc.nat(),
      fc.nat(),
      fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 1)),
      (n, start, k0, k1, probability) => {
        expectTwins((kernels) => {
          const out = kernels.allocateValues(n);
          kernels.bernoulliMask(out, [k0, k1], Math.min(start, Number.MAX_SAFE_INTEGER - n), probability);
          return [out];
        });
      },
    ),
    { numRuns: 500 },
  );
});
