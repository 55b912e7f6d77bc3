import { join } from "node:path";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea, fixtureCases, readFixtureJson } from "@loomweight/fixtures";
import { describe, expect, test } from "vitest";
import { buildModel, families } from "../src/index.ts";
import { type Expected, replayArchitecture } from "./replay-architecture.ts";
import { sessionOf } from "./run.ts";

const area = fixtureArea("architectures");
const builtTypes = new Set(families.flatMap(({ modelTypes }) => modelTypes));

describe.skipIf(area === undefined)("architectures", () => {
  for (const name of fixtureCases("architectures", { marker: "expected.json" })) {
    const folder = join(area ?? "", name);
    const type = readFixtureJson<{ model_type: string }>(join(folder, "config.json")).model_type;
    const expected = readFixtureJson<Expected>(join(folder, "expected.json"));
    if (!builtTypes.has(type)) {
      test(`${name}: outputs`, (context) => context.skip(`family ${type} is not built yet`));
      test(`${name}: a family that is not built is refused by name`, async () => {
        const model = await openModel(folder);
        await expect(buildModel(model)).rejects.toMatchObject({ code: "UNKNOWN_FAMILY" });
        await expect(buildModel(model)).rejects.toThrow(`"${type}"`);
        await model.close();
      });
      continue;
    }
    for (const fuse of ["none", "onnxruntime"] as const) {
      const way = { build: { fuse }, open: sessionOf };
      test(`${name}: ${expected.kind} outputs with fuse ${fuse}`, () => replayArchitecture(folder, expected, way));
    }
  }
});
