import type { Tensor } from "@loomweight/tensor";
import type { InferContext, InferOptions, TypeScope } from "../infer.ts";
import type { OnnxFunction, OnnxModel, ValueInfo } from "../model.ts";
import { typeOf } from "../op.ts";
import { opTables } from "../ops/catalogue.ts";
import type { Value } from "../value.ts";
import { bindInputs, bindParameters, boundType } from "./bind.ts";
import { type ImportedModel, type ImportOptions, importOnnx } from "./import-onnx.ts";
import { placeAll, type ValueSite, valueNamed } from "./place.ts";

export interface InstantiateOptions extends Pick<InferOptions, "tables"> {
  /** Values for the model's inputs, by name; the others become inputs of the new graph. */
  readonly inputs?: Readonly<Record<string, Value>>;
  /** Values in place of initializers, by name: trained, adapted or shared weights. Shapes must be those of the file. */
  readonly parameters?: Readonly<Record<string, Value>>;
  /**
   * Sees each value a node makes, before anything uses it, and may put another in its place: dropout, adapters,
   * quantization. Default none.
   */
  readonly change?: (site: ValueSite) => Value | undefined;
  /** Put before the names of nodes, of the values between them and of inputs made here: "teacher" gives "teacher/…". Default none. */
  readonly prefix?: string;
}

/** One call of an imported model. */
export interface Instance {
  /** What was given, and an input for each that was not. */
  readonly inputs: Readonly<Record<string, Value>>;
  readonly outputs: Readonly<Record<string, Value>>;
  /** Weights in use by the model's names: those given, else the model's own, which all its instances share. */
  readonly parameters: Readonly<Record<string, Value>>;
  /** Any value of the model by its name: hidden layers too. Throws `UNKNOWN_VALUE`. */
  value(name: string): Value;
  /** Versions that the nodes need: hand them to `assemble`. */
  readonly opsets: Readonly<Record<string, number>>;
  /** Local functions the nodes need: hand them to `assemble`. */
  readonly functions: readonly OnnxFunction[];
}

/**
 * An imported model called like a function: its nodes on these inputs and weights, as values that can be
 * differentiated, extended and assembled again. Types follow from what is given, so another batch size or a concrete
 * size for a symbol is fine as far as the nodes allow it. Ops on constants are computed at once, and an If on a constant
 * condition gives way to the branch that is taken.
 *
 * Throws `UNKNOWN_INPUT`, `UNKNOWN_TENSOR`, `DTYPE_MISMATCH`, `SHAPE_MISMATCH` for what does not fit, `UNKNOWN_TYPE`
 * where neither a rule nor the file tells what an op gives, and what the ops' rules throw.
 */
export function instantiate(imported: ImportedModel, options: InstantiateOptions = {}): Instance {
  const { model, small } = imported;
  const { graph } = model;
  const values = new Map<string, Value>();
  const { inputs, binding } = bindInputs(imported, options, values);
  const parameters = bindParameters(imported, options, values);
  const tables = { ...opTables(), ...options.tables };
  const context: InferContext = { opsets: model.opsets, tables, constants: small, strict: true };
  const scope: TypeScope = { own: new Map(), others: new Map() };
  for (const [name, value] of values) scope.own.set(name, typeOf(value));
  for (const [name, each] of imported.parameters) {
    // A small weight is known to the rules although it stays a weight of the graph.
    const tensor = values.get(name) === each ? constantOf(imported, name) : undefined;
    if (tensor !== undefined) scope.own.set(name, { dtype: tensor.dtype, shape: tensor.shape, tensor });
  }
  const declared = new Map<string, ValueInfo>(graph.valueInfo);
  for (const each of graph.outputs) declared.set(each.name, each);
  placeAll(graph.nodes, {
    values,
    scope,
    context,
    prefix: options.prefix,
    change: options.change,
    declared: (name) => boundType(declared.get(name), binding),
  });
  const outputs = Object.fromEntries(graph.outputs.map(({ name }) => [name, valueNamed(values, name)]));
  const { "ai.onnx": standard, ...opsets } = model.opsets;
  return {
    inputs,
    outputs,
    parameters,
    value: (name) => valueNamed(values, name),
    opsets: standard === undefined ? opsets : { "": standard, ...opsets },
    functions: model.functions,
  };
}

/** `importOnnx` and one `instantiate`. */
export async function valuesOf(model: OnnxModel, options: InstantiateOptions & ImportOptions = {}): Promise<Instance> {
  return instantiate(await importOnnx(model, options), options);
}

function constantOf(imported: ImportedModel, name: string): Tensor | undefined {
  const weight = imported.model.graph.initializers.get(name);
  return weight && imported.small.get(weight);
}
