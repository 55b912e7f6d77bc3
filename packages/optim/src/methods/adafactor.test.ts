import { expectClose, tensor } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { runSteps } from "../../test/run.ts";
import { wave } from "../../test/wave.ts";
import { expectWorked } from "../../test/worked.ts";
import { adafactor } from "./adafactor.ts";

optimizerContract(adafactor, {
  "entries do not depend on one another": "the second moment is factored over rows and columns",
});

test("a matrix: numbers of torch in float64", () => {
  expectWorked(adafactor({ epsilon: 1.19e-7 }), {
    learningRate: 0.01,
    start: [
      [1, -2],
      [3, 0.5],
    ],
    gradients: [
      [
        [0.5, -1],
        [0.25, 0.5],
      ],
      [
        [-0.25, 0.5],
        [-0.125, -0.25],
      ],
    ],
    after: [
      [
        [0.9811254139, -1.9811254139],
        [2.9811254139, 0.4811254139],
      ],
      [
        [0.9935262493, -1.9935262493],
        [2.9935262493, 0.4935262493],
      ],
    ],
  });
});

test("a square of rank one is estimated exactly: the first update is the sign of the gradient", () => {
  const optimizer = adafactor({ scaleParameter: false });
  const gradient = tensor(
    [
      [1, -2],
      [3, -6],
    ],
    [2, 2],
    "float64",
  );
  const { p } = runSteps(
    optimizer,
    {
      p: tensor(
        [
          [0, 0],
          [0, 0],
        ],
        [2, 2],
        "float64",
      ),
    },
    [{ p: gradient }],
    0.01,
  )[0].parameters;
  expectClose(
    p,
    tensor(
      [
        [-0.01, 0.01],
        [-0.01, 0.01],
      ],
      [2, 2],
      "float64",
    ),
    1e-12,
  );
});

test("a matrix keeps rows plus columns, and each variant factors where it does", () => {
  const parameters = { small: wave([8, 5], 1), large: wave([20, 3, 18], 1) };
  const shapes = (variant: "torch" | "timm" | "optax", smallestFactored = 0) =>
    Object.fromEntries(
      Object.entries(adafactor({ variant, smallestFactored }).init(parameters)).map(([key, { shape }]) => [key, shape]),
    );
  expect(shapes("torch")).toEqual({
    "row_var/small": [8, 1],
    "col_var/small": [1, 5],
    "row_var/large": [20, 3, 1],
    "col_var/large": [20, 1, 18],
  });
  expect(shapes("timm")).toEqual({ "variance/small": [8, 5], "variance/large": [20, 3, 18] });
  expect(shapes("optax", 16)).toEqual({
    "variance/small": [8, 5],
    "row_var/large": [1, 3, 18],
    "col_var/large": [20, 3, 1],
  });
});
