import {
  type Attributes,
  add,
  applyOne,
  cast,
  conv,
  findRule,
  gather,
  int,
  ints,
  matMul,
  matMulNBits,
  opTables,
  reshape,
  sub,
  transpose,
  type Value,
} from "@loomweight/graph";
import { fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import type { LayerInGraph } from "../define.ts";
import type { LayerShape } from "../layer.ts";
import type { LayerSite } from "./layers.ts";
import { normalizationInput, normalizationWith } from "./normalizations.ts";

/** A layer as the graph computes it, or as the adapters before made of it. Weight and bias are made where they are asked for. */
export interface LayerState {
  readonly output: Value;
  /** [out, in]. */
  readonly weight: () => Value;
  /** [out]. */
  readonly bias: () => Value | undefined;
  /** The output without bias. */
  readonly product: () => Value;
}

/** dtype in which adapters compute: float64 in a float64 graph, else float32. */
export function adapterDType(value: Value): "float32" | "float64" {
  return value.dtype === "float64" ? "float64" : "float32";
}

/** A value in the dtype of the adapters; integers (ids of an embedding) stay. */
export function widened(value: Value): Value {
  const narrow = value.dtype === "float16" || value.dtype === "bfloat16";
  return narrow ? cast(value, "float32") : value;
}

/** What the layer reads, in the dtype of the adapters. */
export function layerInput(site: LayerSite, value: (name: string) => Value): Value {
  return widened(site.form === "Normalization" ? normalizationInput(site, value) : value(site.x));
}

/** The layer without adapters; `value` gives any value of the graph made so far, by its name. */
export function plainState(site: LayerSite, value: (name: string) => Value, output: Value): LayerState {
  const own = widened(output);
  const bias = lazy(() => (site.bias === undefined ? undefined : widened(value(site.bias))));
  return {
    output: own,
    weight: lazy(() => layerMatrix(site, value)),
    bias,
    product: lazy(() => {
      const shift = bias();
      if (shift === undefined) return own;
      return site.output === site.product ? sub(own, perOutput(site, shift)) : widened(value(site.product));
    }),
  };
}

/** The layer after an adapter. */
export function changedState(
  site: LayerSite,
  change: { readonly output: Value; readonly weight: () => Value; readonly bias: () => Value | undefined },
): LayerState {
  const bias = lazy(change.bias);
  return {
    output: change.output,
    weight: lazy(change.weight),
    bias,
    product: lazy(() => {
      const shift = bias();
      return shift === undefined ? change.output : sub(change.output, perOutput(site, shift));
    }),
  };
}

/**
 * A layer where it stands in a graph, for the methods of adapters. `raw` is what the layer itself reads, `x` what the
 * method sees of it, which dropout may have thinned out: `forward(x)` is the layer's untouched output all the same. The
 * layer's own product is reused where a method asks for it again.
 */
export function layerInGraph(
  site: LayerSite,
  {
    state,
    plain,
    raw,
    x,
    value,
  }: {
    readonly state: LayerState;
    readonly plain: LayerState;
    readonly raw: Value;
    readonly x: Value;
    readonly value: (name: string) => Value;
  },
): LayerInGraph {
  const { layer, node } = site;
  const stored = lazy(() => storedLayout(layer, state.weight()));
  const operation: LayerInGraph["operation"] = (given, other, options = {}) => {
    if (given === raw && other === stored()) return state.product();
    switch (layer.kind) {
      case "linear":
        return matMul(given, transpose(other, [1, 0]));
      case "transposedLinear":
        return matMul(given, other);
      case "embedding":
        return gather(other, given, 0);
      case "convolution":
        return convolve(given, other, node.attributes, options.groups ?? layer.groups ?? 1);
      case "normalization":
        return normalizationWith(site, given, other, value);
    }
  };
  return {
    ...layer,
    input: raw,
    get weight() {
      return state.weight();
    },
    get base() {
      return plain.weight();
    },
    get bias() {
      return state.bias();
    },
    get storedWeight() {
      return stored();
    },
    forward(given) {
      if (given === x || given === raw) return state.output;
      const again = operation(given, stored());
      const shift = state.bias();
      return shift === undefined ? again : add(again, perOutput(site, shift));
    },
    operation,
    perOutput: (vector) => perOutput(site, vector),
  };
}

function perOutput({ layer }: LayerSite, vector: Value): Value {
  if (layer.kind !== "convolution") return vector;
  return reshape(vector, [layer.out, ...layer.storedShape.slice(2).map(() => 1)]);
}

/** [out, in] of the weight as the graph computes with it. */
export function layerMatrix(site: LayerSite, value: (name: string) => Value): Value {
  const { layer, form, node } = site;
  if (form === "MatMulNBits") {
    const [codes, scales, zeroPoints] = [value(node.inputs[1]), value(node.inputs[2]), node.inputs[3]];
    if ((node.inputs[4] ?? "") !== "") {
      throw new LoomweightError({
        code: "UNSUPPORTED_LAYER",
        problem: "a weight quantized with g_idx cannot be taken apart",
        node: node.name,
        fix: "Use a method that does not read the weight, such as lora.",
      });
    }
    const size = (name: string) => {
      const attribute = node.attributes[name];
      return attribute?.type === "int" ? Number(attribute.value) : 4;
    };
    const options = { k: layer.in, n: layer.out, bits: size("bits") as 4 | 8, blockSize: size("block_size") };
    // A product with the identity: [in, out].
    const rows = matMulNBits(
      unitMatrix(layer.in),
      codes,
      scales,
      options,
      (zeroPoints ?? "") === "" ? undefined : value(zeroPoints),
    );
    return transpose(rows, [1, 0]);
  }
  const weight = widened(value(site.weight));
  switch (form) {
    case "Normalization":
      return reshape(weight, [layer.out, 1]);
    case "Conv":
      return reshape(weight, [layer.out, layer.in]);
    case "Gemm":
      return Number(integerOf(node.attributes, "transB")) === 1 ? weight : transpose(weight, [1, 0]);
    default:
      return transpose(weight, [1, 0]);
  }
}

/** A weight [out, in] in the checkpoint's layout. */
function storedLayout(layer: LayerShape, weight: Value): Value {
  if (layer.kind === "linear") return weight;
  if (layer.kind === "normalization") return reshape(weight, layer.storedShape);
  return layer.kind === "convolution" ? reshape(weight, layer.storedShape) : transpose(weight, [1, 0]);
}

/** The convolution of the node with another kernel. */
function convolve(x: Value, kernel: Value, attributes: Attributes, group: number): Value {
  const { kernel_shape: _, group: __, ...rest } = attributes;
  const rule = findRule(opTables(), "", "Conv");
  if (rule === undefined) return conv(x, kernel);
  return applyOne(rule, [x, kernel], {
    ...rest,
    kernel_shape: ints(kernel.shape.slice(2).map(Number)),
    ...(group === 1 ? {} : { group: int(group) }),
  });
}

function unitMatrix(size: number): Tensor<"float32"> {
  const data = new Float32Array(size * size);
  for (let i = 0; i < size; i++) data[i * size + i] = 1;
  return fromData("float32", data, [size, size]);
}

function integerOf(attributes: Attributes, name: string): number | bigint {
  const attribute = Object.hasOwn(attributes, name) ? attributes[name] : undefined;
  return attribute?.type === "int" ? attribute.value : 0;
}

function lazy<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
