import { fromData, type Tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { expect, test } from "vitest";
import { linear } from "../src/methods/linear.ts";
import { taskArithmetic } from "../src/methods/task-arithmetic.ts";
import { runMerge } from "./support.ts";

/** float64 to bfloat16 by its bits, to nearest, ties to even; for values in float32's normal range. */
function toBfloat16(value: number): number {
  const bits = new BigUint64Array(Float64Array.of(value).buffer)[0];
  const kept = bits >> 45n;
  const rest = bits & ((1n << 45n) - 1n);
  const half = 1n << 44n;
  const rounded = (rest > half || (rest === half && (kept & 1n) === 1n) ? kept + 1n : kept) << 45n;
  const nearest = new Float64Array(BigUint64Array.of(rounded).buffer)[0];
  return new Uint32Array(Float32Array.of(nearest).buffer)[0] >>> 16;
}

const fromBfloat16 = (code: number) => new Float32Array(Uint32Array.of(code << 16).buffer)[0];

/** bfloat16 codes of values of ordinary weights: 2⁻²⁰ to 2³, either sign. */
const code = fc
  .tuple(fc.integer({ min: 107, max: 130 }), fc.nat(127), fc.boolean())
  .map(([exponent, mantissa, negative]) => (negative ? 0x8000 : 0) | (exponent << 7) | mantissa);
const codes = (count: number) => fc.array(fc.tuple(code, code, code), { minLength: count, maxLength: count });
const weight = fc.oneof(
  fc.constantFrom(0.5, 0.3, 0.7, 0.1, 1, 2, 1 / 3, -0.25),
  fc.double({ min: -2, max: 2, noNaN: true }),
);

function bfloat16Tensor(column: readonly number[]): Tensor {
  return fromData("bfloat16", Uint16Array.from(column), [column.length]);
}

/** `expected` rounded once to both dtypes is what `run` gives, bit for bit. */
async function expectTruth(
  expected: readonly number[],
  run: (dtype: "bfloat16" | "float32") => Promise<Tensor>,
): Promise<void> {
  const rounded = await run("bfloat16");
  expect([...(rounded.data as Uint16Array)]).toEqual(expected.map(toBfloat16));
  const single = await run("float32");
  expect([...(single.data as Float32Array)]).toEqual(expected.map(Math.fround));
}

test("linear merges of bfloat16 and float32 equal the float64 truth rounded once, bit for bit", async () => {
  await fc.assert(
    fc.asyncProperty(codes(67), weight, weight, weight, async (rows, a, b, c) => {
      const total = a + b + c;
      fc.pre(Math.abs(total) > 0.05);
      const models = [0, 1, 2].map((model) => bfloat16Tensor(rows.map((row) => row[model])));
      const truth = rows.map(([x, y, z]) => (a * fromBfloat16(x) + b * fromBfloat16(y) + c * fromBfloat16(z)) / total);
      fc.pre(truth.every((value) => Math.abs(value) > 1e-30));
      await expectTruth(truth, (dtype) => runMerge(linear, { models, weights: [a, b, c] }, { dtype }));
    }),
    { numRuns: 100 },
  );
});

test("task arithmetic of bfloat16 and float32 equals the float64 truth rounded once, bit for bit", async () => {
  await fc.assert(
    fc.asyncProperty(codes(67), weight, weight, weight, async (rows, a, b, lambda) => {
      const [base, first, second] = [0, 1, 2].map((model) => bfloat16Tensor(rows.map((row) => row[model])));
      const truth = rows.map((row) => {
        const [start, x, y] = row.map(fromBfloat16);
        const sum = a * (x - start) + b * (y - start);
        return start + (lambda === 1 ? sum : sum * lambda);
      });
      fc.pre(truth.every((value) => Math.abs(value) > 1e-30));
      await expectTruth(truth, (dtype) =>
        runMerge(taskArithmetic, { base, models: [first, second], weights: [a, b] }, { dtype, lambda }),
      );
    }),
    { numRuns: 100 },
  );
});

test("float32 sources: both methods equal the float64 truth rounded once", async () => {
  const float = fc.float({ min: -4, max: 4, noNaN: true });
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(float, float, float), { minLength: 33, maxLength: 33 }),
      weight,
      weight,
      async (rows, a, b) => {
        const [base, first, second] = [0, 1, 2].map((model) =>
          fromData(
            "float32",
            Float32Array.from(rows, (row) => row[model]),
            [rows.length],
          ),
        );
        const merged = await runMerge(taskArithmetic, { base, models: [first, second], weights: [a, b] });
        const truth = rows.map(([start, x, y]) => Math.fround(start + (a * (x - start) + b * (y - start))));
        expect([...(merged.data as Float32Array)].map((x) => x + 0)).toEqual(truth.map((x) => x + 0));
        const sum = await runMerge(linear, { models: [first, second], weights: [a, b] }, { normalize: false });
        const plain = rows.map(([, x, y]) => Math.fround(a * x + b * y));
        expect([...(sum.data as Float32Array)].map((x) => x + 0)).toEqual(plain.map((x) => x + 0));
      },
    ),
    { numRuns: 100 },
  );
});
