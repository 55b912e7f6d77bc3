import { fromData, type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  cholesky,
  eigh,
  eigvalsh,
  expm,
  inverse,
  inverseRoot,
  linearAssignment,
  logdet,
  logm,
  lstsq,
  numericalRank,
  pinv,
  polar,
  procrustes,
  qr,
  randomizedSvd,
  singularValues,
  solve,
  sqrtm,
  svd,
} from "../src/index.ts";
import { diagonal, eye, gap, minus, norm, plain, size, times, turned } from "./arithmetic.ts";
import { absent, inDType, precisions, type RecordedCase, recordedCases, recordedTensor } from "./recorded.ts";

// fixtures/linalg/README.md, "Tolerance": u = unit roundoff, k = max(m, n). In float32 the operand is rounded once before
// the function sees it, which moves results by as much as float32 arithmetic does.

test("the recorded cases are there", (context) => {
  if (absent !== undefined) context.skip(absent);
  expect(recordedCases.length).toBeGreaterThan(40);
});

const matrices = recordedCases.filter(({ tensors }) => tensors?.a !== undefined);

/** Smallest and largest singular value of what was recorded, from the file alone. */
function spectrum(recorded: RecordedCase): { largest: number; smallest: number; values: Float64Array | undefined } {
  const name = recorded.tensors?.singularValues ?? recorded.tensors?.eigenvalues;
  const values = name === undefined ? undefined : toFloat64(recordedTensor(name)).map(Math.abs).sort().reverse();
  const frobenius = norm(plain(recordedTensor(`${recorded.name}/a`)));
  return {
    largest: values?.[0] ?? frobenius,
    smallest: values === undefined ? 0 : values[values.length - 1],
    values,
  };
}

describe.each(matrices)("$name ($kind, $shape)", (recorded) => {
  const names = recorded.tensors as Record<string, string>;
  const [m, n] = recorded.shape;
  const k = Math.max(m, n);
  const condition = recorded.condition as number | null;
  const { largest: s0, values } = spectrum(recorded);
  const original = recordedTensor(names.a);
  const fact = (name: string) => recorded[name] as number;

  for (const precision of precisions) {
    const { u, dtype } = precision;
    const a = inDType(original, precision);
    const given = (name: string): Tensor => inDType(recordedTensor(names[name]), precision);
    const wanted = (name: string) => plain(recordedTensor(names[name]));
    const has = (name: string) => names[name] !== undefined;
    const bound = 10 * k * u * s0;
    /** Relative error of what depends on the condition: nothing can be asked for where it exceeds 1. */
    const conditioned = 10 * k * u * (condition ?? 1);

    if (has("singularValues")) {
      test(`${dtype}: svd`, () => {
        const { u: left, singularValues: s, vt } = svd(a);
        expect(gap(plain(s), wanted("singularValues"))).toBeLessThanOrEqual(bound);
        expect(gap(plain(singularValues(a)), wanted("singularValues"))).toBeLessThanOrEqual(bound);
        expect(gap(times(turned(plain(left)), plain(left)), eye(s.shape[0]))).toBeLessThanOrEqual(10 * k * u);
        expect(gap(times(plain(vt), turned(plain(vt))), eye(s.shape[0]))).toBeLessThanOrEqual(10 * k * u);
        const product = times(times(plain(left), diagonal(toFloat64(s))), plain(vt));
        expect(gap(product, plain(original))).toBeLessThanOrEqual(bound);
        if (dtype === "float64") expect(numericalRank(a)).toBe(fact("numericalRank"));
      });
      const best = recorded.bestApproximation as { rank: number; frobeniusError: number; spectralError: number }[];
      test(`${dtype}: best approximations of ${best.map(({ rank }) => rank)}`, () => {
        for (const { rank, frobeniusError, spectralError } of best) {
          const { u: left, singularValues: s, vt } = svd(a, { rank });
          const product = times(times(plain(left), diagonal(toFloat64(s))), plain(vt));
          const rest = minus(plain(original), product);
          expect(Math.abs(norm(rest) - frobeniusError)).toBeLessThanOrEqual(bound * Math.sqrt(k));
          const [spectral] = toFloat64(singularValues(fromData("float64", rest.values, [m, n])));
          expect(Math.abs(spectral - spectralError)).toBeLessThanOrEqual(2 * bound);
        }
      });
      test(`${dtype}: randomized approximations of ${best.map(({ rank }) => rank)} stay below their bound`, () => {
        for (const { rank, spectralError } of best) {
          const { u: left, singularValues: s, vt, errorBound } = randomizedSvd(a, { rank, seed: 5 });
          const product = times(times(plain(left), diagonal(toFloat64(s))), plain(vt));
          const rest = minus(plain(original), product);
          const [error] = toFloat64(singularValues(fromData("float64", rest.values, [m, n])));
          expect(error).toBeLessThanOrEqual(errorBound + bound);
          expect(error).toBeGreaterThanOrEqual(spectralError - bound);
          if (rank + 10 >= Math.min(m, n)) expect(error).toBeLessThanOrEqual(spectralError + 2 * bound);
        }
      });
      if (has("rankRApproximation")) {
        test(`${dtype}: the approximation of rank ${fact("rankR")}`, () => {
          const { u: left, singularValues: s, vt } = svd(a, { rank: fact("rankR") });
          const product = times(times(plain(left), diagonal(toFloat64(s))), plain(vt));
          expect(gap(product, wanted("rankRApproximation"))).toBeLessThanOrEqual(bound / fact("relativeGap"));
        });
      }
    }

    if (recorded.polarUnique !== undefined) {
      test(`${dtype}: polar`, () => {
        const { u: unitary, h } = polar(a);
        const [p, q] = [plain(unitary), plain(h)];
        const square = m >= n ? times(turned(p), p) : times(p, turned(p));
        expect(gap(square, eye(Math.min(m, n)))).toBeLessThanOrEqual(10 * k * u);
        expect(gap(m >= n ? times(p, q) : times(q, p), plain(original))).toBeLessThanOrEqual(bound);
        if (!has("polar")) return;
        const all = values as Float64Array;
        const last = all.length - 1;
        const tightness = last === 0 ? 2 * all[0] : all[last - 1] + all[last];
        expect(gap(p, wanted("polar"))).toBeLessThanOrEqual((10 * k * u * s0) / tightness);
        expect(gap(q, wanted("polarH"))).toBeLessThanOrEqual(bound);
      });
    }

    if (has("r")) {
      test(`${dtype}: qr`, () => {
        const { q, r } = qr(a);
        expect(gap(times(plain(q), plain(r)), plain(original))).toBeLessThanOrEqual(bound);
        expect(gap(times(turned(plain(q)), plain(q)), eye(Math.min(m, n)))).toBeLessThanOrEqual(10 * k * u);
        const upper = toFloat64(r);
        for (let i = 0; i < Math.min(m, n); i++) {
          expect(upper[i * n + i]).toBeGreaterThanOrEqual(0);
          for (let j = 0; j < i; j++) expect(upper[i * n + j]).toBe(0);
        }
        if (recorded.qrUnique !== true) return;
        expect(gap(plain(r), wanted("r"))).toBeLessThanOrEqual(Math.max(bound, conditioned * s0));
        expect(gap(plain(q), wanted("q"))).toBeLessThanOrEqual(Math.max(10 * k * u, conditioned));
      });
    }

    if (has("eigenvalues")) {
      test(`${dtype}: eigh`, () => {
        const { eigenvalues, eigenvectors } = eigh(a);
        expect(gap(plain(eigenvalues), wanted("eigenvalues"))).toBeLessThanOrEqual(bound);
        expect(gap(plain(eigvalsh(a)), wanted("eigenvalues"))).toBeLessThanOrEqual(bound);
        const v = plain(eigenvectors);
        expect(gap(times(turned(v), v), eye(n))).toBeLessThanOrEqual(10 * k * u);
        expect(gap(times(times(v, diagonal(toFloat64(eigenvalues))), turned(v)), plain(original))).toBeLessThanOrEqual(
          bound,
        );
      });
    }

    if (has("cholesky")) {
      test(`${dtype}: cholesky and inverse`, () => {
        // in float32 the smallest eigenvalue of a matrix of condition 1e8 is rounding
        if (conditioned > 1) {
          const l = plain(cholesky(a, { shift: 10 * k * u * s0 }));
          expect(gap(times(l, turned(l)), plain(original))).toBeLessThanOrEqual(2 * bound);
          return;
        }
        const l = plain(cholesky(a));
        expect(gap(times(l, turned(l)), plain(original))).toBeLessThanOrEqual(bound);
        expect(gap(l, wanted("cholesky"))).toBeLessThanOrEqual(conditioned * size(wanted("cholesky")));
        expect(gap(plain(inverse(a)), wanted("inverse"))).toBeLessThanOrEqual(conditioned * size(wanted("inverse")));
      });
    }

    if (has("sqrt")) {
      test(`${dtype}: sqrtm and inverse roots`, () => {
        const root = plain(sqrtm(a));
        expect(gap(times(root, root), plain(original))).toBeLessThanOrEqual(Math.max(bound, 0));
        const relative = (name: string) => Math.min(1, conditioned) * size(wanted(name));
        if (conditioned < 1) expect(gap(root, wanted("sqrt"))).toBeLessThanOrEqual(relative("sqrt"));
        if (conditioned >= 1) return;
        if (has("inverseSqrt")) {
          expect(gap(plain(inverseRoot(a, 2)), wanted("inverseSqrt"))).toBeLessThanOrEqual(relative("inverseSqrt"));
        }
        for (const name of Object.keys(names).filter((each) => each.startsWith("inverseRoot"))) {
          const p = Number(name.slice("inverseRoot".length));
          expect(gap(plain(inverseRoot(a, p)), wanted(name))).toBeLessThanOrEqual(relative(name));
        }
      });
    }

    if (recorded.logAbsDet !== undefined) {
      test(`${dtype}: logdet`, () => {
        const { logAbsDet, sign } = logdet(a);
        if (recorded.logAbsDet === "-inf") {
          expect([logAbsDet, sign]).toEqual([Number.NEGATIVE_INFINITY, 0]);
          return;
        }
        const value = fact("logAbsDet");
        const tolerance = Math.max(conditioned, 10 * k * u * Math.abs(value));
        expect(Math.abs(logAbsDet - value)).toBeLessThanOrEqual(tolerance);
        if (conditioned < 1) expect(sign).toBe(fact("detSign"));
      });
    }

    if (has("pinv")) {
      test(`${dtype}: pinv`, () => {
        // the recorded cutoff is one for float64: in float32 rounding fills singular values that were 0
        const rcond = dtype === "float64" ? fact("rcond") : 100 * u;
        const found = plain(pinv(a, { rcond }));
        const kept = (values ?? new Float64Array()).filter((value) => value > rcond * s0);
        const effective = kept.length === 0 ? 1 : s0 / kept[kept.length - 1];
        if (dtype === "float32" && kept.length !== (values ?? []).filter((v) => v > fact("rcond") * s0).length) {
          const product = times(times(plain(original), found), plain(original));
          expect(gap(product, plain(original))).toBeLessThanOrEqual(bound * 100);
          return;
        }
        const tolerance = 10 * k * u * effective * Math.max(size(wanted("pinv")), Number.MIN_VALUE);
        expect(gap(found, wanted("pinv"))).toBeLessThanOrEqual(tolerance);
      });
    }

    if (has("x") && recorded.rcond !== undefined) {
      test(`${dtype}: lstsq`, () => {
        const b = given("b");
        const rcond = dtype === "float64" ? fact("rcond") : 100 * u;
        const { x, rank, residualNorm } = lstsq(a, b, { rcond });
        const rank32 = (values ?? new Float64Array()).filter((value) => value > rcond * s0).length;
        expect(rank).toBe(dtype === "float64" ? fact("effectiveRank") : rank32);
        const scale = norm(plain(b)) + s0 * norm(wanted("x"));
        const kept = (values ?? new Float64Array()).filter((value) => value > rcond * s0);
        const effective = kept.length === 0 ? 1 : s0 / kept[kept.length - 1];
        if (rank === fact("effectiveRank")) {
          expect(Math.abs(residualNorm - fact("residualNorm"))).toBeLessThanOrEqual(10 * k * u * scale);
          const large = fact("residualNorm") > 1e-3 * norm(plain(b));
          const tolerance = 10 * k * u * (large ? effective ** 2 : effective) * size(wanted("x"));
          expect(gap(plain(x), wanted("x"))).toBeLessThanOrEqual(tolerance);
        }
      });
    }

    if (has("xRidge")) {
      test(`${dtype}: lstsq with ridge`, (context) => {
        const ridge = fact("ridge");
        const [source, b, x] = [plain(original), wanted("b"), wanted("xRidge")];
        const gradient = minus(times(turned(source), times(source, x)), times(turned(source), b));
        const rest = gradient.values.map((value, i) => value + ridge * x.values[i]);
        if (size({ ...gradient, values: rest }) > 1e-6 * s0 * norm(b)) {
          context.skip("the recorded b is not the one that xRidge was solved for: solve's has taken its place");
        }
        const smoothed = (s0 * s0 + ridge) / ridge; // condition of a^T a + ridge I, at most
        const error = gap(plain(lstsq(a, given("b"), { ridge }).x), x);
        expect(error).toBeLessThanOrEqual(10 * k * u * smoothed * size(x));
      });
    }

    if (has("x") && has("b") && m === n && condition !== null) {
      test(`${dtype}: solve`, (context) => {
        if (conditioned > 1) context.skip("the condition is beyond the precision: lstsq is the function for it");
        // what was recorded is either solve's or lstsq's, which are one for regular matrices
        const x = plain(solve(a, given("b")));
        expect(gap(x, wanted("x"))).toBeLessThanOrEqual(conditioned * size(wanted("x")));
      });
    }

    if (has("expm")) {
      test(`${dtype}: expm`, () => {
        const found = plain(expm(a));
        const conditionOfExpm = (recorded.conditionOfExpm as number | null) ?? Math.max(1, s0);
        const tolerance = 10 * k * u * Math.max(1, conditionOfExpm) * norm(wanted("expm"));
        expect(gap(found, wanted("expm"))).toBeLessThanOrEqual(tolerance);
        if (recorded.kind === "skew") {
          expect(gap(times(found, turned(found)), eye(n))).toBeLessThanOrEqual(
            10 * k * u * Math.max(1, conditionOfExpm),
          );
        }
      });
    }

    if (has("logm")) {
      test(`${dtype}: logm`, () => {
        expect(gap(plain(logm(a)), wanted("logm"))).toBeLessThanOrEqual(conditioned * size(wanted("logm")));
      });
    }
  }
});

const assignments = recordedCases.filter(({ kind }) => kind === "assignment");

describe.each(assignments)("$name ($shape)", (recorded) => {
  const { name } = recorded;
  const cost = absent === undefined ? recordedTensor(`${name}/cost`) : undefined;
  for (const maximize of [false, true]) {
    test(maximize ? "largest total" : "smallest total", () => {
      const { rows, columns, total } = linearAssignment(cost as Tensor, { maximize });
      const wanted = recorded[maximize ? "optimalMaximum" : "optimalCost"] as number;
      expect(Math.abs(total - wanted)).toBeLessThanOrEqual(1e-12 * Math.max(1, Math.abs(wanted)));
      const pairs = Math.min(...recorded.shape);
      expect(rows.length).toBe(pairs);
      expect([...rows]).toEqual([...new Set(rows)].sort((x, y) => x - y));
      expect(new Set(columns).size).toBe(pairs);
      const sum = rows.reduce(
        (all, row, i) => all + toFloat64(cost as Tensor)[row * recorded.shape[1] + columns[i]],
        0,
      );
      expect(Math.abs(total - sum)).toBeLessThanOrEqual(1e-12 * Math.max(1, Math.abs(sum)));
      if (maximize || recorded.uniqueMinimum !== true) return;
      expect([...rows]).toEqual([...toFloat64(recordedTensor(`${name}/rows`))]);
      expect([...columns]).toEqual([...toFloat64(recordedTensor(`${name}/columns`))]);
    });
  }
});

const alignments = recordedCases.filter(({ kind }) => kind === "procrustes");

describe.each(alignments)("$name ($shape)", (recorded) => {
  for (const precision of precisions) {
    test(`${precision.dtype}: orthogonal map, rotation and scale`, () => {
      const { name, shape } = recorded;
      const fact = (key: string) => recorded[key] as number;
      const [a, b] = ["a", "b"].map((key) => inDType(recordedTensor(`${name}/${key}`), precision));
      const k = Math.max(...shape);
      const tolerance = 10 * k * precision.u;
      const size0 = norm(plain(b));
      const orthogonal = procrustes(a, b);
      expect(Math.abs(orthogonal.residual - fact("residual"))).toBeLessThanOrEqual(tolerance * size0);
      const rotation = procrustes(a, b, { kind: "rotation" });
      expect(Math.abs(rotation.residual - fact("residualRotation"))).toBeLessThanOrEqual(tolerance * size0);
      expect(logdet(rotation.map).sign).toBe(1);
      const { scale, residual } = procrustes(a, b, { scale: true });
      expect(Math.abs(scale - fact("optimalScale"))).toBeLessThanOrEqual(tolerance * Math.max(1, scale));
      expect(residual).toBeLessThanOrEqual(fact("residual") * (1 + tolerance) + tolerance * size0);
      if (shape[0] < shape[1]) return; // fewer points than dimensions: the map is one of many
      expect(logdet(orthogonal.map).sign).toBe(Math.round(fact("det")));
      const spread = toFloat64(singularValues(a));
      const cond = (spread[0] / spread[spread.length - 1]) ** 2;
      for (const [map, key] of [
        [orthogonal.map, "orthogonal"],
        [rotation.map, "rotation"],
      ] as const) {
        const wanted = plain(recordedTensor(`${name}/${key}`));
        expect(gap(plain(map), wanted)).toBeLessThanOrEqual(tolerance * cond);
      }
    });
  }
});
