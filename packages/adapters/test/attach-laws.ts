import {
  add,
  assemble,
  conv,
  evaluateTrace,
  type GraphValue,
  gather,
  gradient,
  input,
  lazyTensor,
  matMul,
  mul,
  type OnnxModel,
  parameter,
  reduceSum,
  transpose,
  type Value,
} from "@loomweight/graph";
import { contiguousData, fromData, isFloat, type Tensor } from "@loomweight/tensor";
import { expect } from "vitest";
import { type Attachment, attach } from "../src/attach/index.ts";
import type { AdapterMethod } from "../src/define.ts";
import type { LayerKind, LayerShape } from "../src/layer.ts";
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
    "model.layers.0.layer.weight",
    kind === "linear"
      ? lazyTensor(turned, { tensors: ["model.layers.0.layer.weight"], transform: "transpose" })
      : lazyTensor(stored, { tensors: ["model.layers.0.layer.weight"] }),
  );
  const out = kind === "linear" || kind === "convolution" ? rows : columns;
  const bias = parameter("model.layers.0.layer.bias", lazyTensor(numbers("bias", [out])));
  if (kind === "embedding") {
    const ids = input("x", "int64", [3]);
    return assemble({ name: "layer", inputs: [ids], outputs: { y: gather(weight, ids, 0) } });
  }
  if (kind === "convolution") {
    const x = input("x", "float64", [2, storedShape[1], ...storedShape.slice(2).map((size) => size + 2)]);
    return assemble({ name: "layer", inputs: [x], outputs: { y: conv(x, weight, bias) } });
  }
  const x = input("x", "float64", [5, kind === "linear" ? columns : rows]);
  return assemble({ name: "layer", inputs: [x], outputs: { y: add(matMul(x, weight), bias) } });
}

/** What the model of a case is fed. */
export function oneLayerInput(kind: LayerKind, storedShape: readonly number[]): Tensor {
  if (kind === "embedding") return fromData("int64", BigInt64Array.from([0n, BigInt(storedShape[0] - 1), 1n]), [3]);
  return numbers("x", [5, kind === "linear" ? storedShape[1] : storedShape[0]]);
}

// biome-ignore lint/suspicious/noExplicitAny: every method
type AnyMethod = AdapterMethod<any, any>;

/** An attachment with drawn parameters and the graph's value of its output. */
async function attached(method: AnyMethod, each: LawCase) {
  const { kind, storedShape, options } = each;
  const attachment = await attach(oneLayerModel(kind, storedShape), undefined, { method, options, targets: ["layer"] });
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

/** The adapted graph computes what the layer with `weight` (and the changed bias) computes; untouched parameters, what it computed before. */
export async function checkAttached(method: AnyMethod, each: LawCase): Promise<void> {
  const { attachment, module, values } = await attached(method, each);
  const x = oneLayerInput(each.kind, each.storedShape);
  const feeds = await feedsOf(attachment, { x });
  const { y } = traced(attachment, values);
  const ours = evaluateTrace({ y }, { ...feeds, ...values }).y;

  const stored = numbers("weight", each.storedShape);
  const layer = layerValues(
    module.layer,
    stored,
    each.kind === "embedding" ? undefined : numbers("bias", [module.layer.out]),
  );
  const params = Object.fromEntries(
    Object.entries(module.names).map(([param, name]) => [param, values[name] ?? attachment.constants[name]]),
  );
  const sums = method.sums?.(layer, params, module.options) ?? {};
  const weight = method.weight?.(layer, params, module.options, sums) as Value;
  const turned = transpose(weight, [1, 0]);
  const product = each.kind === "embedding" ? gather(turned, x, 0) : matMul(x, turned);
  const bias =
    layer.bias !== undefined && method.bias?.needs.every((name: string) => name in params)
      ? method.bias.change(layer.bias, module.layer, params, module.options)
      : layer.bias;
  expect(largestDifference(ours, (bias === undefined ? product : add(product, bias)) as Tensor)).toBeLessThan(1e-10);

  const plain = evaluateTrace({ y: traced(attachment, {}).y }, { ...feeds, ...attachment.parameters }).y;
  const before = layer.forward(x) as Tensor;
  // DoRA's norms go through float32, the dtype of fresh parameters.
  expect(largestDifference(plain, before)).toBeLessThan(1e-6);
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
