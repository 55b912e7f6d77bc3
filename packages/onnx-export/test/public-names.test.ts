import { expect, test } from "vitest";
import * as everything from "../src/index.ts";
import * as onNode from "../src/node/index.ts";

test("the public names are these: a change of the interface shows here", () => {
  expect(Object.keys(everything).sort().join(" ")).toMatchInlineSnapshot(
    `"checkDTypes companionsFor exportDTypes exportedConfig modelFileName planExport"`,
  );
  expect(Object.keys(onNode).sort().join(" ")).toMatchInlineSnapshot(`"exportFolder exportModel verifyFiles"`);
});
