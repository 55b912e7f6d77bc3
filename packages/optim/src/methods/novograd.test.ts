import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { novograd } from "./novograd.ts";

optimizerContract(novograd, {
  "entries do not depend on one another": "gradients are normalized by the norm of the tensor",
});

test("numbers of optax in float64", () => {
  expectWorked(novograd(), {
    learningRate: 0.1,
    after: [
      [0.9552786804499684, -1.910557360899937],
      [0.881223368380023, -1.8976712346597135],
    ],
  });
});
