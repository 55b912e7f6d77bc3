import { fileSetFromMap } from "@loomweight/checkpoint";
import {
  add,
  assemble,
  conv,
  evaluateTrace,
  type GraphValue,
  gather,
  gradient,
  input,
  layerNormalization,
  lazyTensor,
  matMul,
  mul,
  type OnnxModel,
  parameter,
  reduceSum,
  reshape,
  transpose,
  type Value,
} from "@loomweight/graph";
import { cast, contiguousData, fromData, isFloat, LoomweightError, type Tensor } from "@loomweight/tensor";
import { expect } from "vitest";
import { type Attachment, attach } from "../src/attach/index.ts";
import { type AdapterMethod, freshAdapter, type ParamShape, paramShape } from "../src/define.ts";
import { type LayerKind, type LayerShape, layerOf } from "../src/layer.ts";
import type { Adapter } from "../src/peft/adapter.ts";
import { newAdapterFiles } from "../src/peft/new-adapter.ts";
import { openAdapter } from "../src/peft/read-adapter.ts";
import { largestDifference, layerValues, numbers } from "./contract.ts";

/** One layer of a kind as a float64 model: x → y, its weight named as a checkpoint has it. */
export function oneLayerModel(kind: LayerKind, storedShape: readonly number[]): OnnxModel {
  const stored = numbers("weight", storedShape);
  const matrix = storedShape.length === 2;
  const [rows, columns] = storedShape;
  const turned: Tensor = matrix
    ? { ...stored, shape: [columns, rows], stride: [stored.stride[1], stored.stride[0]] }
    : stored;
  const weight = parameter(
    `${path}.weight`,
    kind === "linear"
      ? lazyTensor(turned, { tensors: [`${path}.weight`], transform: "transpose" })
      : lazyTensor(stored, { tensors: [`${path}.weight`] }),
  );
  const out = kind === "linear" || kind === "convolution" || kind === "normalization" ? rows : columns;
  const bias = parameter(`${path}.bias`, lazyTensor(numbers("bias", [out])));
  if (kind === "embedding") {
    const ids = input("x", "int64", [3]);
    return assemble({ name: "layer", inputs: [ids], outputs: { y: gather(weight, ids, 0) } });
  }
  if (kind === "convolution") {
    const x = input("x", "float64", [2, storedShape[1], ...storedShape.slice(2).map((size) => size + 2)]);
    return assemble({ name: "layer", inputs: [x], outputs: { y: conv(x, weight, bias) } });
  }
  if (kind === "normalization") {
    const x = input("x", "float64", [5, rows]);
    return assemble({ name: "layer", inputs: [x], outputs: { y: layerNormalization(x, weight, bias) } });
  }
  const x = input("x", "float64", [5, kind === "linear" ? columns : rows]);
  return assemble({ name: "layer", inputs: [x], outputs: { y: add(matMul(x, weight), bias) } });
}

/** What the model of a case is fed. */
export function oneLayerInput(kind: LayerKind, storedShape: readonly number[]): Tensor {
  if (kind === "embedding") return fromData("int64", BigInt64Array.from([0n, BigInt(storedShape[0] - 1), 1n]), [3]);
  if (kind === "convolution") return numbers("x", [2, storedShape[1], ...storedShape.slice(2).map((size) => size + 2)]);
  return numbers("x", [5, kind === "linear" ? storedShape[1] : storedShape[0]]);
}

/** What a layer with a weight [out, in] and a bias [out] computes. */
function layerOutput(layer: LayerShape, x: Value, weight: Value, bias: Value | undefined): Tensor {
  const shifted = (y: Value) => (bias === undefined ? y : add(y, bias));
  switch (layer.kind) {
    case "embedding":
      return gather(transpose(weight, [1, 0]), x, 0) as Tensor;
    case "convolution":
      return conv(x, reshape(weight, layer.storedShape), bias) as Tensor;
    case "normalization":
      return layerNormalization(x, reshape(weight, [layer.out]), bias) as Tensor;
    default:
      return shifted(matMul(x, transpose(weight, [1, 0]))) as Tensor;
  }
}

// biome-ignore lint/suspicious/noExplicitAny: every method
type AnyMethod = AdapterMethod<any, any>;

const path = "model.layers.0.layer";

/** An attachment with drawn parameters and the graph's value of its output. */
async function attached(method: AnyMethod, each: LawCase) {
  const { kind, storedShape, options } = each;
  const attachment = await attach(
    oneLayerModel(kind, storedShape),
    undefined,
    freshAdapter(method, options) === "none" ? await fromFiles(method, each) : { method, options, targets: ["layer"] },
  );
  expect(attachment.adapters[0].modules.size).toBe(1);
  const [module] = attachment.adapters[0].modules.values();
  const drawn = each.params?.(module.layer) ?? {};
  const values: Record<string, Tensor> = {};
  for (const [param, name] of Object.entries(module.names)) {
    const first = attachment.parameters[name];
    if (first !== undefined) values[name] = drawn[param] ?? numbers(param, first.shape, 0.5);
  }
  return { attachment, module, values };
}

/** An adapter of which there is no fresh one: read from files with drawn parameters. */
async function fromFiles(method: AnyMethod, { kind, storedShape, options, params: given }: LawCase): Promise<Adapter> {
  const layer = layerOf(kind, storedShape);
  const params: Record<string, Tensor> = {};
  for (const [name, shape] of Object.entries(method.params(layer, options))) {
    params[name] = cast(numbers(name, paramShape(shape as ParamShape, layer), 0.5), "float32");
  }
  for (const [name, tensor] of Object.entries(given?.(layer) ?? {})) {
    params[name] = tensor.dtype === "float64" ? cast(tensor, "float32") : tensor;
  }
  const made = newAdapterFiles({ method, options, modules: new Map([[path, { layer, params }]]) });
  return openAdapter(
    fileSetFromMap(
      new Map([
        ["adapter_config.json", new TextEncoder().encode(made.config)],
        ["adapter_model.safetensors", made.weights],
      ]),
      "drawn",
    ),
  );
}

export interface LawCase {
  readonly kind: LayerKind;
  readonly storedShape: readonly number[];
  readonly options: Readonly<Record<string, unknown>>;
  readonly params?: (layer: LayerShape) => Readonly<Record<string, Tensor>>;
}

/** The output of the graph with its adapter, as a value over inputs named like the parameters. */
function traced(attachment: Attachment, values: Readonly<Record<string, Tensor>>) {
  const parameters = Object.fromEntries(
    Object.entries(values).map(([name, { dtype, shape }]) => [name, input(name, dtype, shape)]),
  );
  return { parameters, y: attachment.instantiate({ parameters }).outputs.y };
}

/** Weights, constants and parameters by name, for a trace. */
async function feedsOf(
  attachment: Attachment,
  more: Readonly<Record<string, Tensor>>,
): Promise<Record<string, Tensor>> {
  const weights = await Promise.all(
    [...attachment.model.parameters].map(
      async ([name, { data }]) => [name, await (data as NonNullable<GraphValue["data"]>).read()] as const,
    ),
  );
  return { ...Object.fromEntries(weights), ...attachment.constants, ...more };
}

/** The layer of a case, and its adapter's parameters as folding has them: what is prepared follows from `values`. */
async function folding(
  method: AnyMethod,
  each: LawCase,
  { attachment, module }: Pick<Awaited<ReturnType<typeof attached>>, "attachment" | "module">,
  values: Readonly<Record<string, Tensor>>,
) {
  const stored = numbers("weight", each.storedShape);
  const layer = layerValues(
    module.layer,
    stored,
    each.kind === "embedding" ? undefined : numbers("bias", [module.layer.out]),
  );
  const params: Record<string, Tensor> = {};
  for (const [param, name] of Object.entries(module.names)) {
    const known = values[name] ?? attachment.constants[name];
    params[param] = known.dtype === "float32" ? (cast(known, "float64") as Tensor) : known;
  }
  const layers = new Map([[path, module.layer]]);
  const place = { path, layers, layersInOrder: () => layers };
  const made = await method.prepare?.(module.layer, params, module.options, {
    ...place,
    weight: async () => layer.weight as Tensor<"float64">,
  });
  Object.assign(params, made);
  const sums = method.sums?.(layer, params, module.options) ?? {};
  const changes = layer.bias !== undefined && method.bias?.needs.every((name: string) => name in params);
  return {
    layer,
    weight: method.weight?.(layer, params, module.options, sums) ?? layer.weight,
    bias: changes ? method.bias?.change(layer.bias as Value, module.layer, params, module.options) : layer.bias,
  };
}

/** The adapted graph computes what the layer with `weight` (and the changed bias) computes. */
export async function checkAttached(method: AnyMethod, each: LawCase): Promise<void> {
  const made = await attached(method, each);
  const { attachment, module, values } = made;
  const x = oneLayerInput(each.kind, each.storedShape);
  const feeds = await feedsOf(attachment, { x });
  const { y } = traced(attachment, values);
  const ours = evaluateTrace({ y }, { ...feeds, ...values }).y;
  const { layer, weight, bias } = await folding(method, each, made, values);
  expect(largestDifference(ours, layerOutput(module.layer, x, weight, bias))).toBeLessThan(1e-10);
  // What is drawn changes the layer, else nothing was tested.
  expect(largestDifference(ours, layerOutput(module.layer, x, layer.weight, layer.bias))).toBeGreaterThan(1e-3);
}

/** With untouched parameters the graph computes what it computed before, or what the layer with the fresh weight does. */
export async function checkFresh(method: AnyMethod, each: LawCase): Promise<void> {
  const { kind, storedShape, options } = each;
  const starts = freshAdapter(method, options);
  if (starts === "none") {
    const fresh = attach(oneLayerModel(kind, storedShape), undefined, { method, options, targets: ["layer"] });
    return expect(fresh).rejects.toThrow(LoomweightError);
  }
  const made = await attached(method, each);
  const { attachment, module } = made;
  const x = oneLayerInput(kind, storedShape);
  const feeds = await feedsOf(attachment, { x });
  const ours = evaluateTrace({ y: traced(attachment, {}).y }, { ...feeds, ...attachment.parameters }).y;
  const { layer, weight, bias } = await folding(method, each, made, attachment.parameters);
  const before = layerOutput(module.layer, x, layer.weight, layer.bias);
  expect(largestDifference(ours, layerOutput(module.layer, x, weight, bias))).toBeLessThan(1e-10);
  // DoRA's norms go through float32, the dtype of fresh parameters.
  if (starts === "base") expect(largestDifference(ours, before)).toBeLessThan(1e-6);
  else expect(largestDifference(ours, before)).toBeGreaterThan(1e-6);
}

/** Gradients of Σ y² with respect to every trained parameter, against central differences at up to eight entries of each. */
export async function checkGradients(method: AnyMethod, each: LawCase): Promise<void> {
  const { attachment, values } = await attached(method, each);
  const feeds = await feedsOf(attachment, { x: oneLayerInput(each.kind, each.storedShape) });
  const { parameters, y } = traced(attachment, values);
  const loss = reduceSum(mul(y, y), undefined, false);
  const gradients = evaluateTrace(gradient(loss, parameters), { ...feeds, ...values });
  const lossAt = (name: string, tensor: Tensor): number =>
    Number(evaluateTrace({ loss }, { ...feeds, ...values, [name]: tensor }).loss.data[0]);
  for (const [name, tensor] of Object.entries(values)) {
    if (!isFloat(tensor.dtype)) continue;
    const data = tensor.data as Float64Array;
    const found = gradients[name];
    expect(found.shape).toEqual(tensor.shape);
    const slopes = contiguousData(found) as Float64Array; // some are views
    const largest = Math.max(1, ...Array.from(slopes, Math.abs));
    for (let i = 0; i < data.length; i += Math.max(1, Math.floor(data.length / 8))) {
      const moved = (by: number) => {
        const copy = Float64Array.from(data);
        copy[i] += by;
        return lossAt(name, fromData("float64", copy, tensor.shape));
      };
      const step = 1e-5;
      const expected = (moved(step) - moved(-step)) / (2 * step);
      expect(Math.abs(slopes[i] - expected) / largest, `${name}[${i}]`).toBeLessThan(1e-7);
    }
  }
}
