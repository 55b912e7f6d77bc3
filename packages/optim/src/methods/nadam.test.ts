import { expect, test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { nadam } from "./nadam.ts";

optimizerContract(nadam);

test("numbers of torch in float64", () => {
  expectWorked(nadam(), {
    learningRate: 0.1,
    after: [
      [0.8943548243, -1.8943548232],
      [0.8419624956, -1.9354657956],
    ],
  });
});

test("scalars of a step do not depend on which steps were asked for before", () => {
  const [asked, fresh] = [nadam(), nadam()];
  for (const step of [5, 1, 3]) asked.scalars(step, 0.1);
  expect(asked.scalars(4, 0.1)).toEqual(fresh.scalars(4, 0.1));
});
