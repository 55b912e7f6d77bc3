import { expect, test } from "vitest";
import * as main from "../src/index.ts";
import * as node from "../src/node/index.ts";

test("the public names are these", () => {
  expect(Object.keys(main).sort()).toMatchInlineSnapshot();
  expect(Object.keys(node).sort()).toMatchInlineSnapshot();
});
