import { bytesSource } from "@loomweight/checkpoint";
import { describe, expect, test } from "vitest";
import { inferTypes, type OnnxModel, readOnnx } from "../src/index.ts";
import { hasNodeCases, type NodeCase, readNodeCases } from "./node-cases.ts";

/** How well the types of a case's outputs are told. */
type Told = "all" | "some" | "wrong";

async function told(each: NodeCase, prepare: (model: OnnxModel) => OnnxModel = (model) => model): Promise<Told> {
  const model = prepare(await readOnnx(bytesSource(each.model, each.name)));
  const types = await inferTypes({ ...model, graph: { ...model.graph, valueInfo: new Map() } });
  let all = true;
  for (const { name, kind, dtype, shape = [] } of each.outputs) {
    const type = types.get(name);
    if (kind !== undefined || type === undefined) {
      if (type !== undefined) return "wrong"; // a sequence is no tensor
      all = false;
      continue;
    }
    if (type.dtype !== dtype || type.shape.length !== shape.length) return "wrong";
    for (const [axis, dim] of type.shape.entries()) {
      if (typeof dim !== "number") all = false;
      else if (dim !== shape[axis]) return "wrong";
    }
  }
  return all ? "all" : "some";
}

describe.skipIf(!hasNodeCases())("onnx's own node test cases", () => {
  const cases = hasNodeCases() ? readNodeCases() : [];

  test("types are never wrong, and more of them are told than onnx's own inference tells", {
    timeout: 120_000,
  }, async () => {
    const count = { all: 0, some: 0, wrong: 0 };
    const wrong: string[] = [];
    for (const each of cases) {
      const found = await told(each);
      count[found]++;
      if (found === "wrong") wrong.push(each.name);
    }
    expect(wrong).toEqual([]);
    expect(cases.length).toBe(1884);
    expect(count.all).toBeGreaterThanOrEqual(1185);
  });
});
