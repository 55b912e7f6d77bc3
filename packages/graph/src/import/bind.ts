import { LoomweightError, unknownName } from "@loomweight/tensor";
import { input } from "../inputs.ts";
import type { ValueInfo } from "../model.ts";
import type { Dim, Value } from "../value.ts";
import type { ImportedModel } from "./import-onnx.ts";

/** What a caller of a model may give, see `InstantiateOptions`. */
interface Given {
  readonly inputs?: Readonly<Record<string, Value>>;
  readonly parameters?: Readonly<Record<string, Value>>;
  readonly prefix?: string;
}

/** What the file's symbols stand for in this call; undefined: its shapes do not hold for it. */
export type Binding = ReadonlyMap<string, Dim> | undefined;

/** Values of the model's inputs: those given, and an input of the new graph for each that was not. */
export function bindInputs(
  imported: ImportedModel,
  { inputs: given = {}, prefix }: Given,
  values: Map<string, Value>,
): { inputs: Record<string, Value>; binding: Binding } {
  const { graph } = imported.model;
  const known = new Map(graph.inputs.map((each) => [each.name, each]));
  for (const [name, value] of Object.entries(given)) {
    const info = known.get(name);
    if (info === undefined) throw unknownName({ kind: "input", name, known: known.keys(), code: "UNKNOWN_INPUT" });
    if (info.dtype !== undefined && info.dtype !== value.dtype) {
      throw new LoomweightError({
        code: "DTYPE_MISMATCH",
        problem: `input "${name}" has the wrong dtype`,
        expected: info.dtype,
        found: value.dtype,
      });
    }
    if (info.shape !== undefined && info.shape.length !== value.shape.length) {
      throw new LoomweightError({
        code: "SHAPE_MISMATCH",
        problem: `input "${name}" has the wrong number of axes`,
        expected: `[${info.shape}]`,
        found: `[${value.shape}]`,
      });
    }
    values.set(name, value);
  }
  const symbols = new Map<string, Dim>();
  let holds = true;
  const inputs: Record<string, Value> = {};
  for (const { name, dtype, shape } of imported.inputs) {
    let value = values.get(name);
    if (value === undefined) {
      if (dtype === undefined || shape === undefined) {
        throw new LoomweightError({
          code: "UNKNOWN_TYPE",
          problem: `the file does not say what the input "${name}" is`,
          fix: "Give it: `inputs: { … }`. Sequences and optional values are not supported.",
        });
      }
      value = input(prefix === undefined ? name : `${prefix}/${name}`, dtype, shape);
      values.set(name, value);
    }
    inputs[name] = value;
    for (const [axis, dim] of (shape ?? []).entries()) {
      const size = value.shape[axis];
      if (typeof dim === "number") holds &&= dim === size;
      else if (dim !== "?") {
        holds &&= !symbols.has(dim) || symbols.get(dim) === size;
        symbols.set(dim, size);
      }
    }
  }
  return { inputs, binding: holds ? symbols : undefined };
}

/** A recorded type as it holds in this call. */
export function boundType(
  info: ValueInfo | undefined,
  binding: Binding,
): Pick<ValueInfo, "dtype" | "shape"> | undefined {
  if (info === undefined) return undefined;
  const shape = info.shape?.map((dim): Dim => {
    if (binding === undefined) return "?";
    return typeof dim === "number" ? dim : (binding.get(dim) ?? dim);
  });
  return { dtype: info.dtype, shape };
}

/** Values of the model's weights: those given, else the model's own. */
export function bindParameters(
  imported: ImportedModel,
  { parameters: given = {} }: Given,
  values: Map<string, Value>,
): Record<string, Value> {
  const { initializers } = imported.model.graph;
  for (const [name, value] of Object.entries(given)) {
    const weight = initializers.get(name);
    if (weight === undefined) {
      throw unknownName({ kind: "initializer", name, known: initializers.keys(), code: "UNKNOWN_TENSOR" });
    }
    const same =
      value.shape.length === weight.shape.length &&
      value.shape.every((size, axis) => size === weight.shape[axis] || typeof size === "string");
    if (value.dtype !== weight.dtype || !same) {
      throw new LoomweightError({
        code: value.dtype === weight.dtype ? "SHAPE_MISMATCH" : "DTYPE_MISMATCH",
        problem: "a value given for a weight is not of its type",
        tensor: name,
        expected: `${weight.dtype} [${weight.shape}]`,
        found: `${value.dtype} [${value.shape}]`,
      });
    }
    values.set(name, value);
  }
  const parameters: Record<string, Value> = {};
  for (const [name, own] of imported.parameters) {
    // A value given for an input of the same name takes precedence over its default.
    if (!values.has(name)) values.set(name, own);
    if (!imported.model.graph.inputs.some((each) => each.name === name) || values.get(name) === own) {
      parameters[name] = values.get(name) as Value;
    }
  }
  for (const [name, constant] of imported.constants) if (!values.has(name)) values.set(name, constant);
  return parameters;
}
