import { bytesSource } from "@loomweight/checkpoint";
import { describe, expect, test } from "vitest";
import { numbersTensor } from "../src/evaluate/numbers.ts";
import { type AnyType, inferAllTypes, initializer, type OnnxModel, readOnnx } from "../src/index.ts";
import { type CaseValue, hasNodeCases, type NodeCase, readNodeCases } from "./node-cases.ts";

/** How well the type of a value is told. */
type Told = "all" | "some" | "wrong";

function compare(found: AnyType | undefined, { kind, dtype, elementType, shape = [] }: CaseValue): Told {
  if (found === undefined) return "some";
  if (kind !== undefined) return "kind" in found && `${found.kind}_type` === kind ? "all" : "wrong";
  if ("kind" in found) {
    const same = found.kind === "tensor" && found.elementType === elementType && `${found.shape}` === `${shape}`;
    return same ? "all" : "wrong";
  }
  if (found.dtype !== dtype || found.shape.length !== shape.length) return "wrong";
  const open = found.shape.some((dim) => typeof dim !== "number");
  const wrong = found.shape.some((dim, axis) => typeof dim === "number" && dim !== shape[axis]);
  return wrong ? "wrong" : open ? "some" : "all";
}

/** Inputs that sizes may follow from made constants: whole numbers, and few floats that are not the data itself. */
function withConstants(model: OnnxModel, inputs: readonly CaseValue[]): OnnxModel {
  const initializers = new Map(model.graph.initializers);
  for (const [index, { name, dtype, values, shape = [] }] of inputs.entries()) {
    if (values === undefined || dtype === undefined) continue;
    if (values.some((each) => Number.isInteger(each) && !Number.isSafeInteger(each))) continue;
    if (index === 0 && dtype.startsWith("float")) continue;
    initializers.set(name, initializer(name, numbersTensor(values, shape, dtype, name)));
  }
  const open = model.graph.inputs.filter((each) => !initializers.has(each.name));
  return { ...model, graph: { ...model.graph, inputs: open, initializers } };
}

async function count(cases: readonly NodeCase[], constants: boolean) {
  const told: Record<Told, string[]> = { all: [], some: [], wrong: [] };
  for (const each of cases) {
    const read = await readOnnx(bytesSource(each.model, each.name));
    const model = constants ? withConstants(read, each.inputs) : read;
    const types = await inferAllTypes({ ...model, graph: { ...model.graph, valueInfo: new Map() } });
    const results = each.outputs.map((output) => compare(types.get(output.name), output));
    told[results.includes("wrong") ? "wrong" : results.includes("some") ? "some" : "all"].push(each.name);
  }
  return told;
}

const reason = "the recorded cases are not there";
describe.skipIf(!hasNodeCases())(`onnx's own node test cases${hasNodeCases() ? "" : `: ${reason}`}`, () => {
  const cases = hasNodeCases() ? readNodeCases() : [];

  test("no type is wrong, and more are told than by onnx's own inference", { timeout: 120_000 }, async () => {
    const { all, wrong } = await count(cases, false);
    expect(cases.length).toBe(1884);
    expect(wrong).toEqual([]);
    expect(all.length).toBeGreaterThanOrEqual(1561); // onnx 1.23.1 tells 1432
  });

  test("where the inputs that sizes follow from are constants, nearly all are told", { timeout: 120_000 }, async () => {
    const { all, wrong } = await count(cases, true);
    expect(wrong).toEqual([]);
    expect(all.length).toBeGreaterThanOrEqual(1819);
  });
});
