import { LoomweightError, type Tensor, tensor, zeros } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import * as linalg from "../src/index.ts";

// Bad operands give a LoomweightError that names function and operand, whatever the function.

const good = tensor([
  [2, 0],
  [0, 1],
]);
const wide = tensor([
  [1, 2, 3],
  [4, 5, 6],
]);

/** Every function with its operands by name; the others stay as they are here. */
const calls: Record<
  string,
  { operands: Record<string, Tensor>; square: boolean; call: (o: Record<string, Tensor>) => unknown }
> = {
  cholesky: { operands: { a: good }, square: true, call: ({ a }) => linalg.cholesky(a) },
  eigh: { operands: { a: good }, square: true, call: ({ a }) => linalg.eigh(a) },
  eigvalsh: { operands: { a: good }, square: true, call: ({ a }) => linalg.eigvalsh(a) },
  expm: { operands: { a: good }, square: true, call: ({ a }) => linalg.expm(a) },
  inverse: { operands: { a: good }, square: true, call: ({ a }) => linalg.inverse(a) },
  inverseRoot: { operands: { a: good }, square: true, call: ({ a }) => linalg.inverseRoot(a, 2) },
  kMeans: { operands: { points: good }, square: false, call: ({ points }) => linalg.kMeans(points, { clusters: 1 }) },
  linearAssignment: { operands: { cost: good }, square: false, call: ({ cost }) => linalg.linearAssignment(cost) },
  logdet: { operands: { a: good }, square: true, call: ({ a }) => linalg.logdet(a) },
  logm: { operands: { a: good }, square: true, call: ({ a }) => linalg.logm(a) },
  lstsq: { operands: { a: good, b: good }, square: false, call: ({ a, b }) => linalg.lstsq(a, b) },
  matrixSign: { operands: { a: good }, square: true, call: ({ a }) => linalg.matrixSign(a) },
  numericalRank: { operands: { a: good }, square: false, call: ({ a }) => linalg.numericalRank(a) },
  pinv: { operands: { a: good }, square: false, call: ({ a }) => linalg.pinv(a) },
  polar: { operands: { a: good }, square: false, call: ({ a }) => linalg.polar(a) },
  procrustes: { operands: { a: good, b: good }, square: false, call: ({ a, b }) => linalg.procrustes(a, b) },
  lq: { operands: { a: good }, square: false, call: ({ a }) => linalg.lq(a) },
  qr: { operands: { a: good }, square: false, call: ({ a }) => linalg.qr(a) },
  randomizedSvd: { operands: { a: good }, square: false, call: ({ a }) => linalg.randomizedSvd(a, { rank: 1 }) },
  singularValues: { operands: { a: good }, square: false, call: ({ a }) => linalg.singularValues(a) },
  solve: { operands: { a: good, b: good }, square: true, call: ({ a, b }) => linalg.solve(a, b) },
  solveTriangular: { operands: { a: good, b: good }, square: true, call: ({ a, b }) => linalg.solveTriangular(a, b) },
  sqrtm: { operands: { a: good }, square: true, call: ({ a }) => linalg.sqrtm(a) },
  svd: { operands: { a: good }, square: false, call: ({ a }) => linalg.svd(a) },
};

const graphFunctions = ["newtonInverseRoot", "newtonSchulz"]; // take values of graphs; their tests say what they refuse
const products = ["randomizedSvdOf"]; // takes products

test("every function is here", () => {
  expect([...Object.keys(calls), ...graphFunctions, ...products].sort()).toEqual(Object.keys(linalg).sort());
});

const faults: Record<string, { value: unknown; code: string; text: RegExp; square?: boolean }> = {
  "a NaN": {
    value: tensor([
      [1, 0],
      [0, Number.NaN],
    ]),
    code: "NOT_FINITE",
    text: /NaN at \[1, 1\]/,
  },
  "an infinity": {
    value: tensor([
      [1, Number.POSITIVE_INFINITY],
      [0, 1],
    ]),
    code: "NOT_FINITE",
    text: /Infinity at \[0, 1\]/,
  },
  "a vector": { value: tensor([1, 2]), code: "SHAPE_MISMATCH", text: /\[2\]/ },
  "a scalar": { value: tensor(1), code: "SHAPE_MISMATCH", text: /a matrix is needed/ },
  "no rows": { value: zeros([0, 2]), code: "SHAPE_MISMATCH", text: /the matrix is empty/ },
  "no columns": { value: zeros([2, 0]), code: "SHAPE_MISMATCH", text: /the matrix is empty/ },
  "whole numbers": {
    value: tensor(
      [
        [1, 0],
        [0, 1],
      ],
      undefined,
      "int32",
    ),
    code: "UNSUPPORTED_DTYPE",
    text: /int32/,
  },
  halves: {
    value: tensor(
      [
        [1, 0],
        [0, 1],
      ],
      undefined,
      "float16",
    ),
    code: "UNSUPPORTED_DTYPE",
    text: /float16/,
  },
  nothing: { value: undefined, code: "INVALID_ARGUMENT", text: /a tensor is needed/ },
  null: { value: null, code: "INVALID_ARGUMENT", text: /found null/ },
  "an array": {
    value: [
      [1, 0],
      [0, 1],
    ],
    code: "INVALID_ARGUMENT",
    text: /a tensor is needed/,
  },
  "a matrix that is not square": { value: wide, code: "SHAPE_MISMATCH", text: /not square/, square: true },
};

describe.each(Object.entries(calls))("%s", (name, { operands, square, call }) => {
  test("takes good operands", () => {
    expect(call(operands)).toBeDefined();
  });
  for (const operand of Object.keys(operands)) {
    for (const [fault, { value, code, text, square: needsSquare }] of Object.entries(faults)) {
      if (needsSquare === true && (!square || operand !== "a")) continue;
      test(`refuses ${fault} as ${operand}`, () => {
        const caught = (() => {
          try {
            call({ ...operands, [operand]: value as Tensor });
          } catch (error) {
            return error;
          }
        })();
        expect(caught).toBeInstanceOf(LoomweightError);
        expect((caught as LoomweightError).code).toBe(code);
        expect((caught as LoomweightError).message).toMatch(text);
        expect((caught as LoomweightError).message).toContain(`tensor "${operand}"`);
        expect((caught as LoomweightError).message).toContain(name);
      });
    }
  }
});
