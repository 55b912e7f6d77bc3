import { join } from "node:path";
import { readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { cast, type Tensor, toFloat64 } from "@loomweight/tensor";
import * as ort from "onnxruntime-node";
import { assemble } from "../src/assemble.ts";
import { float, floats, int, ints, text, texts } from "../src/attributes.ts";
import { encodeOnnx } from "../src/codec/write-onnx.ts";
import { gradient } from "../src/gradient/gradient.ts";
import { input } from "../src/inputs.ts";
import { apply } from "../src/op.ts";
import { findRule, opTables } from "../src/ops/catalogue.ts";
import type { Attributes, AttributeValue, GraphValue, Value } from "../src/value.ts";

/** One case of fixtures/gradients/operators.json. */
export interface OperatorCase {
  readonly name: string;
  readonly opset: number;
  readonly nodes: readonly {
    readonly op: string;
    readonly inputs: readonly string[];
    readonly outputs: readonly string[];
    readonly attributes: Readonly<Record<string, unknown>>;
  }[];
  readonly wrt: readonly string[];
  readonly inputs: Readonly<Record<string, string>>;
  readonly outputs: Readonly<Record<string, string>>;
  readonly upstream: Readonly<Record<string, string>>;
  readonly gradients: Readonly<Record<string, string>>;
  readonly int32Inputs?: readonly string[];
  readonly float32Inputs?: readonly string[];
}

export function readOperatorCases(folder: string): { cases: readonly OperatorCase[]; tensors: Map<string, Tensor> } {
  const { file, cases } = readFixtureJson<{ file: string; cases: OperatorCase[] }>(join(folder, "operators.json"));
  return { cases, tensors: readFixtureTensors(join(folder, file)) };
}

const floatAttributes = new Set(
  "alpha beta gamma epsilon scale softcap momentum bias cubic_coeff_a clip extrapolation_value value".split(" "),
);

function attributeOf(name: string, value: unknown): AttributeValue {
  if (typeof value === "string") return text(value);
  if (typeof value === "number") return floatAttributes.has(name) ? float(value) : int(value);
  const list = value as readonly unknown[];
  if (list.every((each) => typeof each === "string")) return texts(list as string[]);
  const numbers = list as readonly number[];
  return numbers.every(Number.isInteger) ? ints(numbers) : floats(numbers);
}

export function attributesOf(entries: Readonly<Record<string, unknown>>): Attributes {
  return Object.fromEntries(Object.entries(entries).map(([name, value]) => [name, attributeOf(name, value)]));
}

/** Integer inputs that are data of the graph, not facts about it: they stay inputs. */
const indexInputs: Readonly<Record<string, readonly number[]>> = {
  Gather: [1],
  GatherElements: [1],
  GatherND: [1],
  ScatterElements: [1],
  ScatterND: [1],
  NegativeLogLikelihoodLoss: [1],
  SoftmaxCrossEntropyLoss: [1],
};

export interface BuiltCase {
  readonly inputs: readonly GraphValue[];
  readonly feeds: Readonly<Record<string, Tensor>>;
  /** Outputs by their names, gradients as "d" + the input's name. */
  readonly results: Readonly<Record<string, Value>>;
  readonly expected: Readonly<Record<string, Tensor>>;
}

/** Forward and backward graph of a case, floats in `dtype`. */
export function buildCase(
  each: OperatorCase,
  tensors: ReadonlyMap<string, Tensor>,
  dtype: "float64" | "float32",
): BuiltCase {
  const read = (key: string): Tensor => tensors.get(key) as Tensor;
  const inFloat = (tensor: Tensor) => (tensor.dtype === "float64" ? cast(tensor, dtype) : tensor);
  const inputs: GraphValue[] = [];
  const feeds: Record<string, Tensor> = {};
  const values = new Map<string, Value>();
  const add = (name: string, tensor: Tensor): GraphValue => {
    const value = input(name, tensor.dtype, tensor.shape);
    inputs.push(value);
    feeds[name] = tensor;
    return value;
  };
  const indices = new Set(
    each.nodes.flatMap(({ op, inputs: names }) => (indexInputs[op] ?? []).map((index) => names[index])),
  );
  for (const [name, key] of Object.entries(each.inputs)) {
    const stored = read(key);
    if (each.int32Inputs?.includes(name)) values.set(name, cast(stored, "int32"));
    else if (each.float32Inputs?.includes(name)) values.set(name, cast(stored, "float32"));
    else if (stored.dtype === "int64" && !indices.has(name)) values.set(name, stored);
    else values.set(name, add(name, inFloat(stored)));
  }
  const tables = opTables();
  for (const { op, inputs: names, outputs, attributes } of each.nodes) {
    const rule = findRule(tables, "", op);
    if (rule === undefined) throw new Error(`${op} is in no table`);
    const operands = names.map((name) => (name === "" ? undefined : values.get(name)));
    const made = apply(rule, operands, { attributes: attributesOf(attributes), outputs: outputs.length });
    for (const [index, name] of outputs.entries()) if (name !== "") values.set(name, made[index]);
  }
  const seeded = Object.keys(each.upstream);
  const upstream = seeded.map((name) => add(`upstream_${name}`, inFloat(read(each.upstream[name]))));
  const losses = seeded.map((name) => values.get(name) as Value);
  const wanted = each.wrt.map((name) => values.get(name) as Value);
  const found = gradient(losses, wanted, { upstream });
  const results: Record<string, Value> = {};
  const expected: Record<string, Tensor> = {};
  for (const [name, key] of Object.entries(each.outputs)) {
    results[name] = values.get(name) as Value;
    expected[name] = read(key);
  }
  for (const [index, name] of each.wrt.entries()) {
    results[`d${name}`] = found[index];
    expected[`d${name}`] = read(each.gradients[name]);
  }
  return { inputs, feeds, results, expected };
}

/** Outputs and gradients by onnxruntime, as float64 numbers. */
export async function runNatively(
  { inputs, feeds, results }: Pick<BuiltCase, "inputs" | "feeds" | "results">,
  opset: number,
  options: ort.InferenceSession.SessionOptions = {},
): Promise<Record<string, { shape: readonly number[]; values: Float64Array }>> {
  const model = assemble({ name: "gradient", inputs, outputs: results, opset });
  const session = await ort.InferenceSession.create(await encodeOnnx(model), { logSeverityLevel: 3, ...options });
  try {
    const found = await session.run(
      Object.fromEntries(
        Object.entries(feeds).map(([name, { dtype, data, shape }]) => [
          name,
          new ort.Tensor(dtype as "float32", data as Float32Array, [...shape]),
        ]),
      ),
    );
    return Object.fromEntries(
      Object.entries(found).map(([name, tensor]) => [
        name,
        { shape: tensor.dims, values: Float64Array.from(tensor.data as ArrayLike<number>, Number) },
      ]),
    );
  } finally {
    await session.release();
  }
}

/** The largest |found − expected|, relative to max(1, |expected|) entry by entry or to the largest entry. */
export function difference(found: Float64Array, expected: Tensor, relativeTo: "entry" | "largest"): number {
  const wanted = toFloat64(expected);
  if (found.length !== wanted.length) return Number.POSITIVE_INFINITY;
  const largest = wanted.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 1);
  let worst = 0;
  for (let i = 0; i < wanted.length; i++) {
    if (Object.is(found[i], wanted[i]) || found[i] === wanted[i]) continue;
    const scale = relativeTo === "entry" ? Math.max(1, Math.abs(wanted[i])) : largest;
    const each = Math.abs(found[i] - wanted[i]) / scale;
    worst = Number.isNaN(each) ? Number.POSITIVE_INFINITY : Math.max(worst, each);
  }
  return worst;
}
