import { createRandom, fromFloat64, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { eigh, eigvalsh, qr, singularValues, svd } from "../src/index.ts";
import { diagonal, eye, gap, plain, size, times, turned } from "./arithmetic.ts";

// Matrices on which decompositions are known to fail: clusters, gradings whose squares underflow, splittings, near ties.

type Entry = (i: number, j: number, n: number, g: () => number) => number;

const hard: Readonly<Record<string, Entry>> = {
  "four clusters, joined by 1e-9": (i, j, _n, g) => (i === j ? 1 + (i % 4) : j === i + 1 ? 1e-9 * g() : 0),
  "graded down to 1e-300": (i, j, n, g) => g() * 10 ** ((-(i + j) * 150) / n),
  Kahan: (i, j) => (i === j ? 0.9 ** i : j > i ? -0.43 * 0.9 ** i : 0),
  "Wilkinson, eigenvalues in near pairs": (i, j, n) =>
    i === j ? Math.abs(i - (n - 1) / 2) : Math.abs(i - j) === 1 ? 1 : 0,
  ones: () => 1,
  "separate blocks": (i, j, _n, g) => (i >> 3 === j >> 3 ? g() : 0),
  "bidiagonal with zeros": (i, j) => (i === j ? Math.sign(i % 3) : j === i + 1 ? Math.sign(i % 5) : 0),
  "identity to within rounding": (i, j, _n, g) => (i === j ? 1 + i * 1e-15 : g() * 1e-16),
  "powers of 1/32": (i, j) => (i === j ? 2 ** (-5 * i) : 0),
  "a permutation": (i, j, n) => ((i * 7 + 3) % n === j ? 1 : 0),
  "triangle of ones": (i, j) => (j >= i ? 1 : 0),
  "one corner beside the identity": (i, j, n) => (i === j ? 1 : i === n - 1 && j === 0 ? 1e-8 : 0),
};

function matrixOf(entry: Entry, n: number, symmetric: boolean) {
  const random = createRandom(1, `${n}`);
  const values = new Float64Array(n * n);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < n; j++) values[i * n + j] = entry(i, j, n, () => random.normal(i * n + j));
  const mean = values.map((value, at) => 0.5 * (value + values[(at % n) * n + Math.floor(at / n)]));
  return fromFloat64(symmetric ? mean : values, [n, n]);
}

describe.each(Object.entries(hard))("%s", (_name, entry) => {
  test.each([26, 65, 130])("svd, singular values and qr of order %i", (n) => {
    const a = matrixOf(entry, n, false);
    const { u, singularValues: s, vt } = svd(a);
    const unit = 10 * n * 1.1e-16;
    const [first] = toFloat64(s);
    expect(gap(times(turned(plain(u)), plain(u)), eye(n))).toBeLessThan(unit);
    expect(gap(times(plain(vt), turned(plain(vt))), eye(n))).toBeLessThan(unit);
    expect(gap(times(times(plain(u), diagonal(toFloat64(s))), plain(vt)), plain(a))).toBeLessThan(unit * first);
    expect(gap(plain(singularValues(a)), plain(s))).toBeLessThan(unit * first);
    const { q, r } = qr(a);
    expect(gap(times(turned(plain(q)), plain(q)), eye(n))).toBeLessThan(unit);
    expect(gap(times(plain(q), plain(r)), plain(a))).toBeLessThan(unit * first);
  });
  test.each([26, 65, 130])("eigenvalues and vectors of order %i", (n) => {
    const a = matrixOf(entry, n, true);
    const { eigenvalues, eigenvectors } = eigh(a);
    const unit = 10 * n * 1.1e-16;
    const largest = size(plain(eigenvalues));
    const v = plain(eigenvectors);
    expect(gap(times(turned(v), v), eye(n))).toBeLessThan(unit);
    expect(gap(times(times(v, diagonal(toFloat64(eigenvalues))), turned(v)), plain(a))).toBeLessThan(unit * largest);
    expect(gap(plain(eigvalsh(a)), plain(eigenvalues))).toBeLessThan(unit * largest);
  });
});
