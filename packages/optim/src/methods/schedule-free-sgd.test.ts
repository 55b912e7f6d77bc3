import { test } from "vitest";
import { optimizerContract } from "../../test/contract.ts";
import { expectWorked } from "../../test/worked.ts";
import { scheduleFreeSgd } from "./schedule-free-sgd.ts";

optimizerContract(scheduleFreeSgd, {}, { learningRate: 0.1 });

test("by hand: z = [0.95, −1.9], then x is the mean of both z", () => {
  expectWorked(scheduleFreeSgd(), {
    learningRate: 0.1,
    after: [
      [0.95, -1.9],
      [0.93625, -1.9275],
    ],
  });
});
