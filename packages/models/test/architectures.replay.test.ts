import { join } from "node:path";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea, fixtureCases, readFixtureJson } from "@loomweight/fixtures";
import { describe, expect, test } from "vitest";
import { type BuildModelOptions, buildModel, families } from "../src/index.ts";
import { type Expected, replayArchitecture } from "./replay-architecture.ts";
import { sessionOf } from "./run.ts";

const area = fixtureArea("architectures");
const builtTypes = new Set(families.flatMap(({ modelTypes }) => modelTypes));

/** Queries, keys and values that are packed turn in operators of their own, or where the CPU alone is asked for inside attention. */
const ways: Readonly<Record<string, BuildModelOptions>> = {
  "fuse none": { fuse: "none" },
  "fuse onnxruntime": { fuse: "onnxruntime" },
  "fuse onnxruntime for the CPU": { fuse: "onnxruntime", devices: ["cpu"] },
};

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
    for (const [said, build] of Object.entries(ways)) {
      // only decoders differ by what the CPU alone can do
      if (build.devices !== undefined && expected.kind !== "decoder") continue;
      const way = { build, open: sessionOf };
      test(`${name}: ${expected.kind} outputs with ${said}`, () => replayArchitecture(folder, expected, way));
    }
  }
});
