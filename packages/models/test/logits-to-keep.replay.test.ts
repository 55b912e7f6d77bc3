import { join } from "node:path";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { fromData, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { buildModel } from "../src/index.ts";
import { type Expected, emptyCache } from "./replay-architecture.ts";
import { columns, excess, sessionOf } from "./run.ts";

// The folder's README: atol = rtol = 1e-4 on logits.
const tolerance = { atol: 1e-4, rtol: 1e-4 };
const area = fixtureArea("architectures");
const cases = fixtureCases("architectures", { marker: "expected.json" }).map((name) => {
  const folder = join(area ?? "", name);
  return { name, folder, kind: readFixtureJson<Expected>(join(folder, "expected.json")).kind };
});

describe.skipIf(area === undefined)("num_logits_to_keep", () => {
  for (const { name, folder } of cases.filter(({ kind }) => kind === "decoder")) {
    // "separate" is the head that quantizers replace
    for (const tiedHead of ["shared", "separate"] as const) {
      test(`${name}: the last rows of the recorded logits, and all for 0, head ${tiedHead}`, async () => {
        const tensors = readFixtureTensors(join(folder, "expected.safetensors"));
        const get = (key: string) => tensors.get(key) as Tensor;
        const opened = await openModel(folder);
        const { model } = await buildModel(opened, "text-generation", { logitsToKeep: true, tiedHead });
        expect(model.graph.inputs.slice(0, 4).map((each) => [each.name, each.dtype, each.shape?.length])).toEqual([
          ["input_ids", "int64", 2],
          ["attention_mask", "int64", 2],
          ["position_ids", "int64", 2],
          ["num_logits_to_keep", "int64", 0],
        ]);
        const session = await sessionOf(model);
        await opened.close();
        const mask = get("in.attention_mask");
        const [rows, width] = mask.shape;
        const recorded = get("out.logits");
        for (const count of [0, 1, 3, width, width + 5]) {
          const outputs = await session.run({
            input_ids: get("in.input_ids"),
            attention_mask: mask,
            position_ids: get("in.position_ids"),
            num_logits_to_keep: fromData("int64", BigInt64Array.of(BigInt(count)), []),
            ...emptyCache(session, rows),
          });
          const start = count === 0 ? 0 : Math.max(0, width - count);
          const real = (row: number, column: number) => Number(mask.data[row * width + start + column]) === 1;
          const over = excess(outputs.logits, columns(recorded, start, width), { ...tolerance, real });
          expect(over, `${count} positions`).toBeLessThanOrEqual(0);
          expect(outputs["present.0.key"].shape[2]).toBe(width);
        }
        await session.close();
      });
    }
  }

  for (const { name, folder } of cases.filter(({ kind }) => kind !== "decoder").slice(0, 1)) {
    test(`${name}: refused where nothing decodes`, async () => {
      const opened = await openModel(folder);
      await expect(buildModel(opened, undefined, { logitsToKeep: true })).rejects.toThrow(
        /option logitsToKeep: only decoders for text-generation/,
      );
      await opened.close();
    });
  }

  for (const { name, folder } of cases.filter(({ kind }) => kind === "decoder").slice(0, 1)) {
    test(`${name}: refused for features, and where no node may run on the CPU`, async () => {
      const opened = await openModel(folder);
      const features = buildModel(opened, "feature-extraction", { logitsToKeep: true });
      await expect(features).rejects.toThrow(/option logitsToKeep: only decoders for text-generation/);
      const gpu = buildModel(opened, "text-generation", { logitsToKeep: true, devices: ["webgpu"] });
      await expect(gpu).rejects.toThrow(/option logitsToKeep: .*Name another device/s);
      await opened.close();
    });
  }
});
