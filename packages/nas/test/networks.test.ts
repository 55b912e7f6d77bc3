import { expect, test } from "vitest";
import { networkContract, operatorsOf } from "./network-contract.ts";
import { convolutional, fixedHeads, transformer } from "./networks.ts";

networkContract(convolutional);
networkContract(transformer);
networkContract(fixedHeads);

test("one convolution a layer, whatever the number of choices", () => {
  const counts = operatorsOf(convolutional("float32"));
  expect(counts.Conv).toBe(2);
  expect(counts.Pad).toBeUndefined();
});
