import { expect, test } from "vitest";
import * as everything from "../src/index.ts";

test("the public names are these: a change of the interface shows here", () => {
  expect(Object.keys(everything).sort().join(" ")).toMatchInlineSnapshot(
    `"allArchitectures bestArchitecture centred choice chosenNetwork chosenShape coefficients convolutionSpace countArchitectures countParameters darts defineNasMethod defineSampler defineSpace drnas embeddingSpace expectedSize extract fromDepth gdas initialWeights largestArchitecture largestShape linearSpace mixtureNetwork networkModel normSpace product search sliceWeight spos superpose tanglenas"`,
  );
});
