import { expectClose, tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { plain, times } from "../test/arithmetic.ts";
import { matrixOf } from "../test/matrices.ts";
import { procrustes } from "./procrustes.ts";
import { qr } from "./qr.ts";

test("a map and a factor are found again", () => {
  const a = matrixOf("normal", 20, 5, 1);
  const { q } = qr(matrixOf("normal", 5, 5, 2));
  const values = times(plain(a), plain(q)).values.map((value) => 3 * value);
  const { map, scale, residual } = procrustes(a, tensor(values, [20, 5], "float64"), { scale: true });
  expectClose(map, q, 1e-13);
  expect(scale).toBeCloseTo(3, 12);
  expect(residual).toBeLessThan(1e-12);
});

test("a mirror image is met by a reflection, and by no rotation", () => {
  const a = tensor(
    [
      [1, 0],
      [0, 2],
    ],
    undefined,
    "float64",
  );
  const b = tensor(
    [
      [1, 0],
      [0, -2],
    ],
    undefined,
    "float64",
  );
  expectClose(
    procrustes(a, b).map,
    tensor(
      [
        [1, 0],
        [0, -1],
      ],
      undefined,
      "float64",
    ),
  );
  const rotation = procrustes(a, b, { kind: "rotation" });
  expect(rotation.residual).toBeCloseTo(2, 12); // the half turn: the short side is given up
});

test("bad input is refused by name", () => {
  const a = matrixOf("normal", 3, 2, 1);
  expect(() => procrustes(a, matrixOf("normal", 3, 3, 1))).toThrow(/procrustes: shape mismatch/);
  expect(() => procrustes(a, a, { kind: "mirror" as "rotation" })).toThrow(/option procrustes.kind/);
});
