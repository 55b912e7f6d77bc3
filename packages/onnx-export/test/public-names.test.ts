import { expect, test } from "vitest";
import * as everything from "../src/index.ts";
import * as onNode from "../src/node/index.ts";

test("the public names are these: a change of the interface shows here", () => {
  expect(Object.keys(everything).sort().join(" ")).toMatchInlineSnapshot(
    `"adapterFile addAdapterSlots addAdapters checkDTypes checkTarget companionsFor createAdapterSession createAdapterSet defaultMinimalKept exportDTypes exportTargets exportedConfig foldGraph joinSlots modelFileName parseAdapterSlots planExport readOnnxAdapter reweightModel slotValues slotsFile writeOnnxAdapter"`,
  );
  expect(Object.keys(onNode).sort().join(" ")).toMatchInlineSnapshot(
    `"exportFolder exportInPlace exportModel foldOnnxFile quantizeFile readAdapterSlots reweightFolder verifyExport verifyFiles writeAdapterFile"`,
  );
});
