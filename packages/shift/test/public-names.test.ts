import { expect, test } from "vitest";
import * as everything from "../src/index.ts";

test("the public names are these: a change of the interface shows here", () => {
  expect(Object.keys(everything).sort().join(" ")).toMatchInlineSnapshot(
    `"adapt affinityMatrix bnAdapt correctPredictions cotta decodeState defineShiftMethod encodeState lame lameObjective mutualInformation openGraphClassifier rowsOf streamBatches tent trainableWeights"`,
  );
});
