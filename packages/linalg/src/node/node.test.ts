import { cast, maxAbsDifference, tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { gap, plain, times, turned } from "../../test/arithmetic.ts";
import { matrixOf } from "../../test/matrices.ts";
import { polar } from "../polar.ts";
import { randomizedSvd } from "../randomized-svd.ts";
import { graphOrthogonalFactor, graphRandomizedSvd, openProducts } from "./index.ts";

test("products are those of the matrix, in float32 and float64", async () => {
  for (const dtype of ["float32", "float64"] as const) {
    const a = cast(matrixOf("normal", 30, 20, 1), dtype);
    const products = await openProducts(a);
    const [x, y] = [matrixOf("normal", 20, 3, 2), matrixOf("normal", 30, 4, 3)];
    const tolerance = dtype === "float32" ? 1e-5 : 1e-13;
    expect(gap(plain(await products.times(x)), times(plain(a), plain(x)))).toBeLessThan(tolerance);
    const wanted = times(turned(plain(a)), plain(y));
    expect(gap(plain(await products.transposeTimes(y)), wanted)).toBeLessThan(tolerance);
    await products.close();
    await products.close();
  }
});

test("the randomized SVD of the graph is that of float64 to float32's rounding", async () => {
  for (const kind of ["low rank", "normal"] as const) {
    const a = cast(matrixOf(kind, 200, 150, 4), "float32");
    const options = { rank: 3, oversampling: 150, seed: 7 };
    const [found, exact] = [await graphRandomizedSvd(a, options), randomizedSvd(a, options)];
    const [s] = toFloat64(exact.singularValues);
    expect(found.u.dtype).toBe("float32");
    expect(maxAbsDifference(found.singularValues, exact.singularValues)).toBeLessThan(2e-6 * s);
    if (kind === "normal") expect(maxAbsDifference(found.u, exact.u)).toBeLessThan(1e-3);
  }
});

test("tiny and huge float32 matrices pass through", async () => {
  for (const scale of [1e-20, 1e20]) {
    const a = tensor(
      plain(matrixOf("normal", 40, 30, 5)).values.map((value) => value * scale),
      [40, 30],
    );
    const { singularValues } = await graphRandomizedSvd(a, { rank: 2, oversampling: 40 });
    const wanted = toFloat64(randomizedSvd(a, { rank: 2, oversampling: 40 }).singularValues);
    expect(Math.abs(toFloat64(singularValues)[0] / wanted[0] - 1)).toBeLessThan(1e-5);
    expect(maxAbsDifference(await graphOrthogonalFactor(a), polar(a).u)).toBeLessThan(1e-4);
  }
});

test("bad input is refused before a session is opened", async () => {
  await expect(graphRandomizedSvd(tensor([[1, Number.NaN]]), { rank: 1 })).rejects.toThrow(/NaN at \[0, 1\]/);
  await expect(graphRandomizedSvd(tensor([[1, 2]]), { rank: 2 })).rejects.toThrow(/option randomizedSvd.rank/);
  await expect(openProducts(tensor([1, 2]))).rejects.toThrow(/openProducts: a matrix is needed/);
  await expect(graphOrthogonalFactor(tensor([[1]], undefined, "int8"))).rejects.toThrow(/float32 or float64/);
});
