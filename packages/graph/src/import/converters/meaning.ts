import { type DType, dtypeFacts, fromData } from "@loomweight/tensor";
import { floatOf, int, intOf, text, textOf } from "../../attributes.ts";
import { elementsOf } from "../../evaluate/numbers.ts";
import type { OnnxNode } from "../../model.ts";
import { onnxOfDtype } from "../../onnx-dtype.ts";
import { onnxNode } from "../../rewrite.ts";
import {
  attribute,
  type ConvertCall,
  type Converter,
  type Converters,
  integers,
  scalarConstant,
  unsupported,
  without,
} from "./converter.ts";
import { scalesInput } from "./inputs.ts";

/**
 * Before opset 13 these took all axes from `axis` (default 1) on together: x → Flatten → op along the rows → Reshape
 * to the shape of x. Where `axis` is the last axis that is what they do since.
 */
const flattening: Converter = {
  before: 13,
  convert(call) {
    const { node, fresh } = call;
    const axis = intOf(node, "axis", 1);
    const rank = call.typeOf(node.inputs[0])?.shape.length;
    if (axis === -1 || (rank !== undefined && (axis < 0 ? axis + rank : axis) === rank - 1)) {
      return { ...node, attributes: { ...node.attributes, axis: int(-1) } };
    }
    const [x] = node.inputs;
    const base = node.name === "" ? node.outputs[0] : node.name;
    const [shape, rows, result] = ["shape", "rows", "result"].map((each) => fresh(`${base}/${each}`));
    const named = (op: string) => ({ name: fresh(`${base}/${op}`) });
    return [
      onnxNode("Shape", [x], [shape], named("Shape")),
      onnxNode("Flatten", [x], [rows], { ...named("Flatten"), attributes: { axis: int(axis) } }),
      { ...node, inputs: [rows], outputs: [result], attributes: { ...node.attributes, axis: int(-1) } },
      onnxNode("Reshape", [result, shape], node.outputs, named("Reshape")),
    ];
  },
};

/** Coordinates before opset 11: out · size / scale, cut off, or rounded up where an axis shrinks. */
function resize(call: ConvertCall, node: OnnxNode): OnnxNode {
  const mode = textOf(node, "mode", "nearest");
  const scales = call.typeOf(node.inputs[1])?.tensor;
  const factors = scales === undefined ? [] : [...elementsOf(scales)];
  const shrinks = factors.some((factor) => factor < 1);
  if (mode === "nearest" && shrinks && factors.some((factor) => factor > 1)) {
    throw unsupported(call, "makes some axes larger and others smaller by nearest elements");
  }
  return {
    ...node,
    op: "Resize",
    inputs: [node.inputs[0], "", node.inputs[1]],
    attributes: {
      mode: text(mode === "bilinear" ? "linear" : mode),
      coordinate_transformation_mode: text("asymmetric"),
      ...(mode === "nearest" ? { nearest_mode: text(shrinks ? "ceil" : "floor") } : {}),
    },
  };
}

const upsample: Converter = {
  before: 21,
  convert(call) {
    const floats = (values: readonly number[]) =>
      call.constant(fromData<DType>("float32", Float32Array.from(values), [values.length]));
    return resize(call, scalesInput(call, floats));
  },
};

const resizing: Converter = {
  before: 13,
  convert(call) {
    const { node, opset } = call;
    if (opset < 11) return resize(call, node);
    const mode = textOf(node, "coordinate_transformation_mode", "half_pixel");
    if (mode === "tf_half_pixel_for_nn") throw unsupported(call, `has the coordinates ${mode}, which are gone`);
    // What was an empty tensor is left out now.
    const inputs = node.inputs.map((name, index) => {
      const empty = index > 0 && name !== "" && call.typeOf(name)?.shape[0] === 0;
      const unused = index === 1 && mode !== "tf_crop_and_resize";
      return empty || unused ? "" : name;
    });
    return { ...node, inputs };
  },
};

const batchNormalization: Converter = {
  before: 14,
  convert(call) {
    const { node, opset } = call;
    const attributes = without(node.attributes, "spatial", "is_test");
    const training = [1, 2, 3, 4].some((index) => call.uses(index));
    if (call.uses(3) || call.uses(4)) throw unsupported(call, "has saved statistics that are used");
    if (opset < 9 && intOf(node, "spatial", 1) === 0) {
      if (training) throw unsupported(call, "keeps statistics per element, in training");
      return perElement(call);
    }
    if (!training) return { ...node, outputs: node.outputs.slice(0, 1), attributes: without(attributes, "momentum") };
    return { ...node, outputs: node.outputs.slice(0, 3), attributes: { ...attributes, training_mode: int(1) } };
  },
};

/** spatial = 0: y = (x − mean) / √(variance + ε) · scale + bias with statistics [channels, …] of each element. */
function perElement(call: ConvertCall): OnnxNode[] {
  const { node, fresh } = call;
  const [x, scale, bias, mean, variance] = node.inputs;
  const base = node.name === "" ? node.outputs[0] : node.name;
  const dtype = call.typeOf(x)?.dtype ?? "float32";
  const epsilon = scalarConstant(call, floatOf(node, "epsilon", 1e-5), dtype);
  const nodes: OnnxNode[] = [];
  const step = (op: string, inputs: readonly string[], output = fresh(`${base}/${op}/output`)) => {
    nodes.push(onnxNode(op, inputs, [output], { name: fresh(`${base}/${op}`) }));
    return output;
  };
  const deviation = step("Sqrt", [step("Add", [variance, epsilon])]);
  const normed = step("Div", [step("Sub", [x, mean]), deviation]);
  step("Add", [step("Mul", [normed, scale]), bias], node.outputs[0]);
  return nodes;
}

/** Scale and bias were [groups] until opset 21; now they are [channels]: each is repeated channels / groups times. */
const groupNormalization: Converter = {
  before: 21,
  convert(call) {
    const { node, fresh } = call;
    const groups = intOf(node, "num_groups", undefined);
    if (groups === undefined || groups < 1) throw unsupported(call, "does not say its number of groups");
    const base = node.name === "" ? node.outputs[0] : node.name;
    const nodes: OnnxNode[] = [];
    const step = (op: string, inputs: readonly string[], attributes = {}) => {
      const output = fresh(`${base}/${op}/output`);
      nodes.push(onnxNode(op, inputs, [output], { name: fresh(`${base}/${op}`), attributes }));
      return output;
    };
    const channels = call.typeOf(node.inputs[0])?.shape[1];
    const shape =
      typeof channels === "number"
        ? integers(call, [groups, channels / groups])
        : step(
            "Concat",
            [
              integers(call, [groups]),
              step("Div", [step("Shape", [node.inputs[0]], { start: int(1), end: int(2) }), integers(call, [groups])]),
            ],
            { axis: int(0) },
          );
    const repeated = (name: string) => {
      const column = step("Unsqueeze", [name, integers(call, [1])]);
      return step("Reshape", [step("Expand", [column, shape]), integers(call, [-1])]);
    };
    const inputs = [node.inputs[0], repeated(node.inputs[1]), repeated(node.inputs[2])];
    return [...nodes, { ...node, inputs }];
  },
};

const cast: Converter = {
  before: 21,
  convert(call) {
    const { node } = call;
    const to = attribute(node, "to");
    if (to?.type !== "string") return node;
    const names: Readonly<Record<string, DType>> = { FLOAT: "float32", DOUBLE: "float64" };
    const name = to.value.toUpperCase();
    const dtype = Object.hasOwn(names, name) ? names[name] : (to.value.toLowerCase() as DType);
    if (!Object.hasOwn(dtypeFacts, dtype)) throw unsupported(call, `casts to "${to.value}"`);
    return { ...node, attributes: { ...node.attributes, to: int(onnxOfDtype(dtype)) } };
  },
};

const roiAlign: Converter = {
  before: 16,
  convert: ({ node }) => ({
    ...node,
    attributes: { ...node.attributes, coordinate_transformation_mode: text("output_half_pixel") },
  }),
};

const gridSample: Converter = {
  before: 20,
  convert({ node }) {
    const mode = textOf(node, "mode", "bilinear");
    const renamed = mode === "bilinear" ? "linear" : mode === "bicubic" ? "cubic" : mode;
    return { ...node, attributes: { ...node.attributes, mode: text(renamed) } };
  },
};

/** Ops that mean something else since, or are written with other ops. */
export const meaningConverters: Converters = {
  Softmax: flattening,
  LogSoftmax: flattening,
  Hardmax: flattening,
  Upsample: upsample,
  Resize: resizing,
  BatchNormalization: batchNormalization,
  GroupNormalization: groupNormalization,
  Cast: cast,
  RoiAlign: roiAlign,
  GridSample: gridSample,
  Scatter: { before: 21, convert: ({ node }) => ({ ...node, op: "ScatterElements" }) },
  Scan: {
    before: 9,
    convert(call) {
      throw unsupported(call, "has a batch axis and lengths, which it lost in opset 9", "Export the model anew.");
    },
  },
};
