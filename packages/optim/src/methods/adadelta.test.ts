import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { adadelta } from "./adadelta.ts";

optimizerContract(adadelta);

test("numbers of torch in float64", () => {
  expectWorked(adadelta(), {
    learningRate: 1,
    after: [
      [0.9968377856, -1.9968377382],
      [0.9947526986, -1.998922868],
    ],
  });
});
