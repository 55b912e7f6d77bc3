import { createRandom, fromFloat64, type Tensor } from "@loomweight/tensor";
import fc from "fast-check";
import { plain, times } from "./arithmetic.ts";

/** Sizes on both sides of where algorithms change: 24 columns, blocks of 32, leaves of 16. */
export const anySize = fc.oneof(
  { weight: 5, arbitrary: fc.integer({ min: 1, max: 9 }) },
  { weight: 2, arbitrary: fc.constantFrom(16, 24, 25, 31, 32, 33, 40, 66) },
);

export const kinds = ["normal", "whole", "low rank", "graded", "repeated", "sparse", "tiny", "huge", "zero"] as const;
export type Kind = (typeof kinds)[number];
export const anyKind = fc.constantFrom<Kind>(...kinds);

/** A matrix [m, n] of a kind that algorithms stumble over; the same for the same seed. */
export function matrixOf(kind: Kind, m: number, n: number, seed: number): Tensor<"float64"> {
  const random = createRandom(seed, `${kind} ${m} ${n}`);
  const values = new Float64Array(m * n);
  random.normalsInto(values);
  if (kind === "low rank") {
    const rank = 1 + Math.floor(random.uniform(m * n) * 3);
    const factor = (rows: number, columns: number, name: string) => {
      const entries = new Float64Array(rows * columns);
      random.child(name).normalsInto(entries);
      return { rows, columns, values: entries };
    };
    values.set(times(factor(m, rank, "left"), factor(rank, n, "right")).values);
  }
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      const at = i * n + j;
      if (kind === "whole") values[at] = Math.round(values[at] * 2);
      if (kind === "graded") values[at] *= 10 ** (-3 * (i + j)); // squares underflow
      if (kind === "repeated") values[at] = i % 3 === j % 3 && i - j < 3 ? 1 + (i % 2) : 0;
      if (kind === "sparse" && random.uniform(at) < 0.8) values[at] = 0;
      if (kind === "tiny") values[at] *= 1e-200;
      if (kind === "huge") values[at] *= 1e200;
      if (kind === "zero") values[at] = 0;
    }
  }
  return fromFloat64(values, [m, n]);
}

/** (a + a^T) / 2 of such a matrix. */
export function symmetricOf(kind: Kind, n: number, seed: number): Tensor<"float64"> {
  const { values } = plain(matrixOf(kind, n, n, seed));
  return fromFloat64(
    values.map((value, at) => 0.5 * (value + values[(at % n) * n + Math.floor(at / n)])),
    [n, n],
  );
}

/** g g^T / n + shift I for normal g: symmetric positive definite. */
export function definiteOf(n: number, seed: number, shift = 0.1): Tensor<"float64"> {
  const g = plain(matrixOf("normal", n, n + 2, seed));
  const values = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = i === j ? shift : 0;
      for (let p = 0; p < n + 2; p++) sum += (g.values[i * (n + 2) + p] * g.values[j * (n + 2) + p]) / n;
      values[i * n + j] = sum;
      values[j * n + i] = sum;
    }
  }
  return fromFloat64(values, [n, n]);
}
