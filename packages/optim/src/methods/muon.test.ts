import { mul } from "@loomweight/graph";
import { equal, expectClose, fromData, type Tensor, tensor, toFloat64 } from "@loomweight/tensor";
import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { runSteps } from "../../test/run.ts";
import { wave } from "../../test/wave.ts";
import { expectWorked } from "../../test/worked.ts";
import { muon } from "./muon.ts";

optimizerContract(muon, {
  "entries do not depend on one another": "the step is an orthogonal matrix",
  "takes vectors": "for matrices",
});

test("the card's numbers", () => {
  expectWorked(muon(), {
    learningRate: 0.02,
    start: [
      [1, 0],
      [0, 1],
    ],
    gradients: [
      [
        [3, 1],
        [0, 4],
      ],
    ],
    tolerance: 1e-5,
    after: [
      [
        [0.983265, -0.0056204],
        [-0.000531555, 0.977113],
      ],
    ],
  });
});

test("the length of the gradient does not matter", () => {
  const run = (scale: number) => {
    const gradient = mul(wave([3, 4], 2), scale);
    return runSteps(muon(), { p: wave([3, 4], 1) }, [{ p: gradient }], 0.1)[0].parameters.p;
  };
  expectClose(run(1000), run(1), 1e-12);
});

test("a vector is refused with what to do", () => {
  expect(() => muon().init({ bias: tensor([1, 2]) })).toThrow(/bias.*groups/s);
});

test("a convolution is taken as [out, rest]", () => {
  const flat = (value: Tensor) => fromData("float64", toFloat64(value), [2, 6]);
  const [p, g] = [wave([2, 3, 2], 1), wave([2, 3, 2], 2)];
  const whole = runSteps(muon(), { p }, [{ p: g }], 0.1)[0].parameters.p;
  const matrix = runSteps(muon(), { p: flat(p) }, [{ p: flat(g) }], 0.1)[0].parameters.p;
  expect(equal(flat(whole), matrix)).toBe(true);
});
