import type { DType } from "@loomweight/tensor";
import { floatOf, floatsOf, int, intOf, intsOf } from "../../attributes.ts";
import type { OnnxNode } from "../../model.ts";
import {
  attribute,
  type ConvertCall,
  type Converter,
  type Converters,
  integers,
  scalarConstant,
  unsupported,
  withInput,
  without,
} from "./converter.ts";

/** Lists of integers that became inputs: attribute → place among the inputs. */
function lists(before: number, places: Readonly<Record<string, number>>): Converter {
  return {
    before,
    convert(call) {
      const { node } = call;
      let { inputs } = node;
      for (const [name, index] of Object.entries(places)) {
        const values = intsOf(node, name);
        if (values !== undefined) inputs = withInput(inputs, index, integers(call, values));
      }
      return { ...node, inputs, attributes: without(node.attributes, ...Object.keys(places)) };
    },
  };
}

const dataType = ({ node, typeOf }: ConvertCall): DType => typeOf(node.inputs[0])?.dtype ?? "float32";

const clip: Converter = {
  before: 11,
  convert(call) {
    const { node } = call;
    let { inputs } = node;
    for (const [index, name] of ["min", "max"].entries()) {
      const bound = floatOf(node, name, undefined);
      if (bound !== undefined) inputs = withInput(inputs, index + 1, scalarConstant(call, bound, dataType(call)));
    }
    return { ...node, inputs, attributes: without(node.attributes, "min", "max") };
  },
};

const pad: Converter = {
  before: 11,
  convert(call) {
    const { node } = call;
    const pads = intsOf(node, "pads") ?? [];
    let inputs = withInput(node.inputs, 1, integers(call, pads));
    const value = floatOf(node, "value", 0);
    if (value !== 0) inputs = withInput(inputs, 2, scalarConstant(call, value, dataType(call)));
    return { ...node, inputs, attributes: without(node.attributes, "pads", "value") };
  },
};

const topK: Converter = {
  before: 10,
  convert(call) {
    const { node } = call;
    const k = intOf(node, "k", undefined);
    if (k === undefined) throw unsupported(call, "does not say how many elements it takes");
    return {
      ...node,
      inputs: withInput(node.inputs, 1, integers(call, [k])),
      attributes: without(node.attributes, "k"),
    };
  },
};

const dropout: Converter = {
  before: 12,
  convert(call) {
    const { node } = call;
    // What it holds outside training was not said; onnxruntime gave false where it now gives true.
    if (call.uses(1)) throw unsupported(call, "has a mask that is used");
    const ratio = floatOf(node, "ratio", 0.5);
    return {
      ...node,
      inputs: withInput(node.inputs, 1, scalarConstant(call, ratio, "float32")),
      outputs: node.outputs.slice(0, 1),
      attributes: without(node.attributes, "ratio", "is_test"),
    };
  },
};

const split: Converter = {
  before: 18,
  convert(call) {
    const { node, opset } = call;
    const sizes = opset < 13 ? intsOf(node, "split") : undefined;
    const attributes = without(node.attributes, "split");
    if (sizes !== undefined) return { ...node, inputs: withInput(node.inputs, 1, integers(call, sizes)), attributes };
    if (opset >= 13 && (node.inputs[1] ?? "") !== "") return node;
    return { ...node, attributes: { ...attributes, num_outputs: int(node.outputs.length) } };
  },
};

const dft: Converter = {
  before: 20,
  convert(call) {
    const { node } = call;
    const inputs = withInput(node.inputs, 2, scalarConstant(call, intOf(node, "axis", 1), "int64"));
    return { ...node, inputs, attributes: without(node.attributes, "axis") };
  },
};

/** Scales of an Upsample as an input; the rest is Resize's. */
export function scalesInput(call: ConvertCall, floats: (values: readonly number[]) => string): OnnxNode {
  const { node } = call;
  const scales = floatsOf(node, "scales");
  if (scales === undefined && attribute(node, "scales") === undefined && node.inputs.length > 1) return node;
  if (scales === undefined) throw unsupported(call, "has no scales");
  return {
    ...node,
    inputs: withInput(node.inputs, 1, floats(scales)),
    attributes: without(node.attributes, "scales"),
  };
}

/** Attributes that later opsets take as inputs. */
export const inputConverters: Converters = {
  Squeeze: lists(13, { axes: 1 }),
  Unsqueeze: lists(13, { axes: 1 }),
  ReduceSum: lists(13, { axes: 1 }),
  ...Object.fromEntries(
    ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "SumSquare"].map((name) => [
      `Reduce${name}`,
      lists(18, { axes: 1 }),
    ]),
  ),
  Slice: lists(10, { starts: 1, ends: 2, axes: 3 }),
  Clip: clip,
  Pad: pad,
  TopK: topK,
  Dropout: dropout,
  Split: split,
  DFT: dft,
};
