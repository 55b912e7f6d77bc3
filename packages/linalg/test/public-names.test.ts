import { expect, test } from "vitest";
import * as everything from "../src/index.ts";
import * as node from "../src/node/index.ts";

test("the public names are these: a change of the interface shows here", () => {
  expect(Object.keys(everything).sort()).toMatchInlineSnapshot(`
    [
      "cholesky",
      "eigh",
      "eigvalsh",
      "expm",
      "inverse",
      "inverseRoot",
      "kMeans",
      "linearAssignment",
      "logdet",
      "logm",
      "lq",
      "lstsq",
      "matrixSign",
      "newtonInverseRoot",
      "newtonSchulz",
      "numericalRank",
      "pinv",
      "polar",
      "procrustes",
      "qr",
      "randomizedSvd",
      "randomizedSvdOf",
      "singularValues",
      "solve",
      "solveTriangular",
      "sqrtm",
      "svd",
    ]
  `);
  expect(Object.keys(node).sort()).toMatchInlineSnapshot(`
    [
      "graphOrthogonalFactor",
      "graphRandomizedSvd",
      "openProducts",
    ]
  `);
});
