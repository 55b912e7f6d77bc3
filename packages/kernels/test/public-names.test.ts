import { expect, test } from "vitest";
import * as everything from "../src/index.ts";

test("the public names are these: a change of the interface shows here", () => {
  expect(Object.keys(everything).sort()).toMatchInlineSnapshot(`
    [
      "LoomweightError",
      "arcCosine",
      "codeBytes",
      "cosSin",
      "cosSinTurns",
      "createKernels",
      "createRandom",
      "escapeControls",
      "exponential",
      "kernelModule",
      "logarithm",
      "plainKernels",
      "rankScratchBytes",
      "wasmSupported",
    ]
  `);
});
