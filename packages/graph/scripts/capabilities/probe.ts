// node probe.ts PROVIDER INDICES: probes these ops, one line of JSON each: what begins, what was found.
import { type DType, dtypeFacts, type Tensor } from "@loomweight/tensor";
import { assemble } from "../../src/assemble.ts";
import { encodeOnnx } from "../../src/codec/write-onnx.ts";
import { castTensor } from "../../src/evaluate/numbers.ts";
import { input } from "../../src/inputs.ts";
import { inferTypesOf, makeNode, type NamedRule, type Sample, typeOf, withoutTrailing } from "../../src/op.ts";
import { cast } from "../../src/ops/logic.ts";
import type { GraphValue, Value } from "../../src/value.ts";
import { sampleInputs } from "../../test/samples.ts";
import { probedDtypes, probedOps } from "./plan.ts";

const [, , provider, indices = ""] = process.argv;

type Ort = Pick<typeof import("onnxruntime-node"), "InferenceSession" | "Tensor">;
type OrtTensor = import("onnxruntime-node").Tensor;

/** dtypes that JavaScript can hand over; the others are cast inside the graph. */
const wire: readonly DType[] = ["float32", "float64", "int32", "int64", "uint8", "int8", "bool", "uint32"];

/** A sample with the dtype of its floats (else of its first operand) changed everywhere; undefined where it does not go. */
function variant(sample: Sample, dtype: DType): (Tensor | undefined)[] | undefined {
  const tensors = sampleInputs(sample);
  const given = tensors.filter((each) => each !== undefined);
  const main = (given.find((each) => each.dtype === "float32") ?? given[0])?.dtype;
  if (main === undefined) return dtype === "float32" ? tensors : undefined;
  if (main === dtype) return tensors;
  const whole = dtypeFacts[main].kind !== "float";
  // Samples of floats are tried in every dtype, those of whole numbers in other whole numbers.
  if (whole && dtypeFacts[dtype].kind === "float") return undefined;
  return tensors.map((each) => (each?.dtype === main ? castTensor(each, dtype) : each));
}

interface Probe {
  readonly bytes: Uint8Array;
  readonly feeds: Readonly<Record<string, Tensor>>;
}

/** The op alone in a model; undefined where ONNX does not allow the dtype. */
async function modelOf(rule: NamedRule, sample: Sample, dtype: DType): Promise<Probe | undefined> {
  const tensors = variant(sample, dtype);
  if (tensors === undefined) return undefined;
  const constants =
    sample.constants ?? tensors.flatMap((each, index) => (index > 0 && each?.dtype === "int64" ? [index] : []));
  const feeds: Record<string, Tensor> = {};
  const inputs: GraphValue[] = [];
  const operands = tensors.map((each, index): Value | undefined => {
    if (each === undefined || constants.includes(index)) return each;
    const passed = wire.includes(each.dtype) ? each : castTensor(each, "float32");
    const value = input(`x${index}`, passed.dtype, passed.shape);
    feeds[`x${index}`] = passed;
    inputs.push(value);
    return passed === each ? value : cast(value, each.dtype);
  });
  const opset = rule.domain === "" ? newestNeeded(rule.op) : 1;
  const call = { op: rule.op, domain: rule.domain, attributes: sample.attributes ?? {}, outputs: sample.outputs ?? 1 };
  try {
    const given = withoutTrailing(operands);
    const types = inferTypesOf(rule, { ...call, opset, inputs: given.map((each) => each && typeOf(each)) });
    const made = makeNode({ ...call, inputs: given }, types);
    const outputs = Object.fromEntries(
      made.map((each, i) => [`y${i}`, wire.includes(each.dtype) ? each : cast(each, "float32")]),
    );
    const model = assemble({ name: "probe", inputs, outputs, opset: Math.max(21, opset) });
    return { bytes: await encodeOnnx(model), feeds };
  } catch {
    return undefined;
  }
}

/** The opset an op needs where that is newer than 21. */
function newestNeeded(op: string): number {
  if (op === "Swish" || op === "Attention") return 24;
  return op === "RMSNormalization" || op === "RotaryEmbedding" ? 23 : 21;
}

async function run(ort: Ort, name: string, { bytes, feeds }: Probe): Promise<Record<string, OrtTensor> | undefined> {
  const extra = name === "webgpu" ? { extra: { session: { disable_cpu_ep_fallback: "1" } } } : {};
  try {
    const session = await ort.InferenceSession.create(bytes, {
      executionProviders: [name],
      graphOptimizationLevel: "disabled",
      logSeverityLevel: 4,
      ...extra,
    });
    const given = Object.entries(feeds).map(([key, { dtype, data, shape }]) => [
      key,
      new ort.Tensor(dtype as "float32", data as Float32Array, [...shape]),
    ]);
    const results = await session.run(Object.fromEntries(given));
    await session.release();
    return { ...results };
  } catch {
    return undefined;
  }
}

/** Whether another provider computed what the CPU computes. */
function agrees(found: Record<string, OrtTensor>, expected: Record<string, OrtTensor>): boolean {
  return Object.entries(expected).every(([name, { data, dims }]) => {
    const other = found[name];
    if (other === undefined || `${other.dims}` !== `${dims}`) return false;
    const [x, y] = [data, other.data].map((each) => Array.from(each as ArrayLike<number | bigint>, Number));
    const scale = Math.max(1e-6, ...x.filter(Number.isFinite).map(Math.abs));
    return x.every((value, i) => Object.is(value, y[i]) || value === y[i] || Math.abs(value - y[i]) <= 1e-3 * scale);
  });
}

const cpu: Ort = await import("onnxruntime-node");
let ort: Ort = cpu;
if (provider === "wasm") {
  const web = await import("onnxruntime-web");
  web.env.wasm.numThreads = 1;
  ort = web as unknown as Ort;
}
const ops = probedOps();
for (const index of indices.split(",").map(Number)) {
  const rule = ops[index];
  for (const dtype of probedDtypes(provider)) {
    console.log(JSON.stringify({ begins: index, dtype }));
    let [tried, passed] = [0, 0];
    for (const sample of rule.samples) {
      const probe = await modelOf(rule, sample, dtype);
      if (probe === undefined) continue;
      const expected = await run(cpu, "cpu", probe);
      if (provider === "cpu" && expected === undefined) {
        tried++;
        continue;
      }
      const found = provider === "cpu" ? expected : await run(ort, provider, probe);
      tried++;
      // Where the CPU has no kernel to compare with, running is enough.
      if (found !== undefined && (expected === undefined || agrees(found, expected))) passed++;
    }
    console.log(JSON.stringify({ op: rule.op, domain: rule.domain, dtype, tried, passed }));
  }
}
console.log(JSON.stringify({ ended: true }));
process.exit(0);
