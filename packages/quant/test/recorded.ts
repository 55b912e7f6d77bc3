import { existsSync } from "node:fs";
import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import {
  type AttributeValue,
  encodeOnnx,
  type LazyTensor,
  lazyTensor,
  type OnnxModel,
  type OnnxNode,
} from "@loomweight/graph";
import { openSession } from "@loomweight/graph/node";
import { bytesOf, type DType, fromData, type Tensor, toFloat64 } from "@loomweight/tensor";
import { InferenceSession, Tensor as OnnxTensor } from "onnxruntime-node";
import { expect, type TestContext, test } from "vitest";

/** A node as the recorded tool wrote it. */
export interface RecordedNode {
  readonly op: string;
  readonly domain?: string;
  readonly name: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Readonly<Record<string, number | string | readonly number[]>>;
}

export interface RecordedCase {
  readonly name: string;
  readonly failed?: string;
  readonly outputFailed?: string;
  readonly weight: string;
  readonly A: string;
  readonly model?: string;
  readonly x?: string;
  readonly call?: string;
  readonly output?: string;
  readonly nodes: readonly RecordedNode[];
  readonly initializers: Readonly<
    Record<string, { readonly dtype: string; readonly dims: readonly number[]; readonly tensor: string }>
  >;
}

export interface RecordedSet<C> {
  readonly folder: string;
  readonly cases: readonly C[];
  tensor(key: string): Tensor;
}

/** A set of the "quant" area; no cases where it is absent. */
export function recordedSet<C = RecordedCase>(name: string): RecordedSet<C> {
  const folder = fixtureArea("quant");
  if (folder === undefined || !existsSync(join(folder, `${name}.json`))) {
    return {
      folder: "",
      cases: [],
      tensor(key) {
        throw new Error(`no tensor ${key}`);
      },
    };
  }
  const tensors = readFixtureTensors(join(folder, `${name}.safetensors`));
  return {
    folder,
    cases: readFixtureJson<{ cases: C[] }>(join(folder, `${name}.json`)).cases,
    tensor(key) {
      const found = tensors.get(key);
      if (found === undefined) throw new Error(`no tensor ${key}`);
      return found;
    },
  };
}

/** One test for each case; where the fixtures lack the set, one skipped test that says so. */
export function testCases<C extends { readonly name: string }>(
  set: RecordedSet<C>,
  run: (recorded: C, context: TestContext) => Promise<void> | void,
): void {
  for (const each of set.cases) test(each.name, (context) => run(each, context));
  if (set.cases.length === 0) test("recorded cases", (context) => context.skip("the fixtures do not hold this set"));
}

/** The graph that the recorded tools were given: one op on a constant `W` and an input `A`. */
export function oneOpModel(
  node: OnnxNode,
  weight: Tensor | LazyTensor,
  aDType: DType,
  aShape: readonly (number | string)[],
): OnnxModel {
  const data = "read" in weight ? weight : lazyTensor(weight);
  return {
    irVersion: 10,
    producer: { name: "test", version: "" },
    opsets: { "": 21, "com.microsoft": 1 },
    functions: [],
    metadata: {},
    graph: {
      name: "g",
      nodes: [node],
      inputs: [{ name: "A", dtype: aDType, shape: aShape }],
      outputs: [{ name: "Y", dtype: data.dtype, shape: undefined }],
      initializers: new Map([["W", { name: "W", dtype: data.dtype, shape: data.shape, data }]]),
      valueInfo: new Map(),
    },
  };
}

function plainAttribute(value: AttributeValue): unknown {
  switch (value.type) {
    case "int":
      return Number(value.value);
    case "ints":
      return value.value.map(Number);
    case "float":
    case "string":
      return value.value;
    default:
      return value.type;
  }
}

/** Nodes as plain data, sorted by what they write: the recorded tools do not all keep a topological order. */
function plainNodes(nodes: readonly OnnxNode[], withDomain: boolean): unknown[] {
  return nodes
    .map(({ op, domain, name, inputs, outputs, attributes }) => ({
      op,
      ...(withDomain && { domain }),
      name,
      inputs: [...inputs],
      outputs: [...outputs],
      attributes: Object.fromEntries(Object.entries(attributes).map(([key, value]) => [key, plainAttribute(value)])),
    }))
    .sort((a, b) => (a.outputs[0] < b.outputs[0] ? -1 : 1));
}

/** Same nodes, names, edges and attributes, whatever the order; ours must be topological. */
export function expectNodes(model: OnnxModel, recorded: readonly RecordedNode[]): void {
  const withDomain = recorded.every(({ domain }) => domain !== undefined);
  const sorted = [...recorded].sort((a, b) => (a.outputs[0] < b.outputs[0] ? -1 : 1));
  expect(plainNodes(model.graph.nodes, withDomain)).toEqual(sorted);
  expectTopological(model);
}

/** Every node reads only what stands before it. */
export function expectTopological(model: OnnxModel): void {
  const known = new Set(["", ...model.graph.inputs.map(({ name }) => name), ...model.graph.initializers.keys()]);
  for (const node of model.graph.nodes) {
    for (const input of node.inputs) expect(known, `${node.op} ${node.name} reads ${input}`).toContain(input);
    for (const output of node.outputs) known.add(output);
  }
}

const onnxNames: Readonly<Record<string, string>> = {
  float32: "FLOAT",
  float16: "FLOAT16",
  int8: "INT8",
  uint8: "UINT8",
  int4: "INT4",
  uint4: "UINT4",
  int64: "INT64",
};

/**
 * The initializers of `model` are the recorded ones: names, dtypes, shapes and every byte, but for those that
 * `compare` takes over.
 */
export async function expectInitializers(
  model: OnnxModel,
  recorded: RecordedCase["initializers"],
  tensorOf: (key: string) => Tensor,
  compare: (name: string, found: Tensor, wanted: Tensor) => boolean = () => false,
): Promise<void> {
  expect([...model.graph.initializers.keys()].sort()).toEqual(Object.keys(recorded).sort());
  for (const [name, { dtype, dims, tensor }] of Object.entries(recorded)) {
    const initializer = model.graph.initializers.get(name);
    expect([name, onnxNames[initializer?.dtype ?? ""], initializer?.shape]).toEqual([name, dtype, dims]);
    const found = (await initializer?.data.read()) as Tensor;
    expect([name, onnxNames[found.dtype], found.shape]).toEqual([name, dtype, dims]);
    const wanted = tensorOf(tensor);
    if (!compare(name, found, wanted)) expect(bytesOf(found), name).toEqual(bytesOf(wanted));
  }
}

/** Runs a model in onnxruntime: its only output for `feeds`. */
export type RunModel = (model: OnnxModel, feeds: Readonly<Record<string, Tensor>>) => Promise<Tensor>;

/** The product's way, in a thread of its own. */
export const runInThread: RunModel = async (model, feeds) => {
  const session = await openSession(await encodeOnnx(model), { threads: 1 });
  try {
    return Object.values(await session.run(feeds))[0];
  } finally {
    await session.close();
  }
};

/** In this thread: a hundred times faster to set up, for sets of hundreds of tiny models. */
export const runHere: RunModel = async (model, feeds) => {
  const session = await InferenceSession.create(await encodeOnnx(model), {
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
  });
  try {
    const inputs = Object.entries(feeds).map(([name, { dtype, data, shape }]) => [
      name,
      new OnnxTensor(dtype as "float32", data as Float32Array, shape),
    ]);
    const [output] = Object.values(await session.run(Object.fromEntries(inputs)));
    const dtype = output.type as DType;
    return fromData(dtype, output.data as Float32Array, output.dims);
  } finally {
    await session.release();
  }
};

/** Largest difference from the recorded output: at most `tolerance` times the largest recorded magnitude. */
export function expectOutput(output: Tensor, recorded: Tensor, tolerance: number): void {
  expect(output.shape).toEqual(recorded.shape);
  const [found, wanted] = [toFloat64(output), toFloat64(recorded)];
  const largest = wanted.reduce((most, y) => Math.max(most, Math.abs(y)), 0);
  const difference = found.reduce((most, y, i) => Math.max(most, Math.abs(y - wanted[i])), 0);
  expect(difference).toBeLessThanOrEqual(tolerance * largest);
}
