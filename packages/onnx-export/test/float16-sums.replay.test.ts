import { join } from "node:path";
import { openModel } from "@loomweight/checkpoint/node";
import { fixtureArea, fixtureCases } from "@loomweight/fixtures";
import type { OnnxGraph } from "@loomweight/graph";
import { describe, expect, test } from "vitest";
import { planExport } from "../src/plan.ts";

/** What overflows first in half precision: squares, and sums over an axis. Fused norms sum in float32 inside. */
const summing = new Set(["Pow", "ReduceMean", "ReduceSum", "ReduceL2", "ReduceSumSquare"]);

/** Picks the state of one token: every other term is 0. */
const picking = "ReduceSum /text_model/ReduceSum";

function summedInHalf({ nodes, valueInfo, inputs, initializers }: OnnxGraph): string[] {
  const dtypes = new Map(
    [...inputs, ...initializers.values(), ...valueInfo.values()].map((each) => [each.name, each.dtype]),
  );
  return nodes
    .flatMap(({ op, name, inputs: [input] }) =>
      summing.has(op) && dtypes.get(input) === "float16" ? [`${op} ${name}`] : [],
    )
    .filter((each) => each !== picking);
}

const area = fixtureArea("architectures");

describe.skipIf(area === undefined)("in half precision", () => {
  for (const name of fixtureCases("architectures", { marker: "expected.json" })) {
    test(`${name}: squares and means are float32, whatever the family keeps its sums of branches in`, async () => {
      const folder = await openModel(join(area ?? "", name));
      const { graphs } = await planExport(folder, { dtypes: ["fp16", "q4f16"], fuse: "none" });
      expect(graphs.length).toBeGreaterThanOrEqual(2);
      for (const { file, model } of graphs) expect(summedInHalf(model.graph), file).toEqual([]);
      await folder.close();
    });
  }
});
