import { elementCount, LoomweightError, type Tensor, unknownName } from "@loomweight/tensor";
import { isConcrete } from "../dims.ts";
import {
  type InferContext,
  type InferOptions,
  inferNode,
  isStandard,
  mergeType,
  opsetOf,
  type TypeScope,
} from "../infer.ts";
import { input, parameter } from "../inputs.ts";
import type { OnnxFunction, OnnxGraph, OnnxModel, OnnxNode, ValueInfo } from "../model.ts";
import {
  evaluateCall,
  inferTypesOf,
  integersOf,
  knownTensors,
  makeNode,
  typeOf,
  type ValueType,
  withoutTrailing,
} from "../op.ts";
import { findRule, opTables } from "../ops/catalogue.ts";
import { freeValues, subgraphsOf } from "../rewrite.ts";
import { type Dim, isTensor, type Value } from "../value.ts";
import { type ImportedModel, type ImportOptions, importOnnx } from "./import-onnx.ts";

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

/** A value of an imported graph where it is made. */
export interface ValueSite {
  /** Its name in the file. */
  readonly name: string;
  readonly node: OnnxNode;
  readonly value: Value;
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

/** Larger results than this are left to the runtime even where all operands are constants. */
const mostComputed = 2 ** 22;

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
    declared: (name) => bound(declared.get(name), binding),
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

function valueNamed(values: ReadonlyMap<string, Value>, name: string): Value {
  const found = values.get(name);
  if (found !== undefined) return found;
  throw unknownName({ kind: "value", name, known: values.keys(), code: "UNKNOWN_VALUE" });
}

/** What the file's symbols stand for in this call; undefined: its shapes do not hold for it. */
type Binding = ReadonlyMap<string, Dim> | undefined;

function bindInputs(
  imported: ImportedModel,
  { inputs: given = {}, prefix }: InstantiateOptions,
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
function bound(info: ValueInfo | undefined, binding: Binding): Pick<ValueInfo, "dtype" | "shape"> | undefined {
  if (info === undefined) return undefined;
  const shape = info.shape?.map((dim): Dim => {
    if (binding === undefined) return "?";
    return typeof dim === "number" ? dim : (binding.get(dim) ?? dim);
  });
  return { dtype: info.dtype, shape };
}

function bindParameters(
  imported: ImportedModel,
  { parameters: given = {} }: InstantiateOptions,
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

/** What placing nodes needs to know and fills. */
interface Placing {
  readonly values: Map<string, Value>;
  readonly scope: TypeScope;
  readonly context: InferContext;
  readonly prefix: string | undefined;
  readonly change: InstantiateOptions["change"];
  readonly declared: (name: string) => Pick<ValueInfo, "dtype" | "shape"> | undefined;
}

function placeAll(nodes: readonly OnnxNode[], placing: Placing): void {
  const { values, scope, change } = placing;
  for (const node of nodes) {
    const results = place(node, placing);
    for (const [index, name] of node.outputs.entries()) {
      const made = results[index];
      if (name === "" || made === undefined) continue;
      const value = change?.({ name, node, value: made }) ?? made;
      values.set(name, value);
      scope.own.set(name, typeOf(value));
    }
  }
}

/** One node on the values of this call. */
function place(node: OnnxNode, placing: Placing): readonly (Value | undefined)[] {
  const { values, scope, context, prefix, declared } = placing;
  const inputs = withoutTrailing(node.inputs.map((name) => (name === "" ? undefined : valueNamed(values, name))));
  if (passesThrough(node, inputs)) return [inputs[0]];
  const chosen = chosenBranch(node, inputs[0]);
  if (chosen !== undefined) return placeBranch(chosen, placing);
  const captures = capturesOf(node, values);
  const computed = captures === undefined ? evaluated(node, inputs, context) : undefined;
  if (computed !== undefined) return computed;
  const types = typesOf(node, context, scope, declared);
  const known = types.length > 0 ? knownTensors(types) : undefined;
  if (known !== undefined) return known;
  const { op, domain, attributes } = node;
  const outputs = makeNode(
    {
      op,
      domain: isStandard(domain) ? "" : domain,
      inputs,
      attributes,
      name: scoped(node.name === "" ? `/${op}` : node.name, prefix),
      ...(captures === undefined ? {} : { captures }),
    },
    types.map(({ dtype, shape, known }) => ({ dtype, shape, known })),
    node.outputs.map((name) => (name === "" ? undefined : scoped(name, prefix))),
  );
  return node.outputs.map((name, index) => (name === "" ? undefined : outputs[index]));
}

/** The branch of an If that is taken, where the condition is a constant. */
function chosenBranch(node: OnnxNode, condition: Value | undefined): OnnxGraph | undefined {
  if (node.op !== "If" || !isStandard(node.domain) || condition === undefined || !isTensor(condition)) return undefined;
  const branch = node.attributes[integersOf(condition)[0] === 0 ? "else_branch" : "then_branch"];
  return branch?.type === "graph" ? branch.value : undefined;
}

/** A branch in place of its If: names inside bodies are not used outside, so they share one map. */
function placeBranch(branch: OnnxGraph, placing: Placing): readonly Value[] {
  const { values, scope, context } = placing;
  for (const each of branch.initializers.values()) {
    const value = context.constants.get(each) ?? parameter(each.name, each.data);
    values.set(each.name, value);
    scope.own.set(each.name, typeOf(value));
  }
  placeAll(branch.nodes, placing);
  return branch.outputs.map(({ name }) => valueNamed(values, name));
}

function scoped(name: string, prefix: string | undefined): string {
  if (prefix === undefined) return name;
  return name.startsWith("/") ? `/${prefix}${name}` : `${prefix}/${name}`;
}

/** Nodes that do nothing: Identity, and Dropout outside training. */
function passesThrough(node: OnnxNode, inputs: readonly (Value | undefined)[]): boolean {
  if (!isStandard(node.domain) || inputs[0] === undefined) return false;
  if (node.op === "Identity") return true;
  const training = inputs[2];
  const off = training === undefined || (isTensor(training) && integersOf(training)[0] === 0);
  return node.op === "Dropout" && off && (node.outputs[1] ?? "") === "";
}

function typesOf(
  node: OnnxNode,
  context: InferContext,
  scope: TypeScope,
  declared: (name: string) => Pick<ValueInfo, "dtype" | "shape"> | undefined,
): ValueType[] {
  let found: readonly (ValueType | undefined)[] | undefined;
  let fault: unknown;
  try {
    found = inferNode(node, context, scope);
  } catch (cause) {
    fault = cause;
  }
  return node.outputs.map((name, index): ValueType => {
    const recorded = name === "" ? undefined : declared(name);
    // A form that the rule does not know: what the file records stands, as far as its shapes hold for this call.
    if (fault !== undefined && (recorded?.shape === undefined || recorded.shape.includes("?"))) throw fault;
    const type = mergeType(found?.[index], recorded);
    if (type !== undefined) return type;
    if (name === "") return { dtype: "float32", shape: [] }; // nobody uses it
    throw untold(node, name);
  });
}

function untold({ op, domain, name }: OnnxNode, value: string): LoomweightError {
  return new LoomweightError({
    code: "UNKNOWN_TYPE",
    problem: `nothing tells the dtype and shape of "${value}", an output of ${domain === "" ? op : `${domain}.${op}`}`,
    node: name,
    fix: "Give a rule for the op (`tables`), or a file that records the types of its values.",
  });
}

/** What the bodies of a node take from around them; undefined for a node without bodies. */
function capturesOf(node: OnnxNode, values: ReadonlyMap<string, Value>): Record<string, Value> | undefined {
  const bodies = subgraphsOf(node);
  if (bodies.length === 0) return undefined;
  const names = new Set(bodies.flatMap((body) => freeValues(body)));
  return Object.fromEntries([...names].map((name) => [name, valueNamed(values, name)]));
}

/** The node's results where all its operands are constants and small. */
function evaluated(
  node: OnnxNode,
  inputs: readonly (Value | undefined)[],
  context: InferContext,
): readonly Tensor[] | undefined {
  if (!inputs.every((each) => each === undefined || isTensor(each)) || node.outputs.includes("")) return undefined;
  const rule = findRule(context.tables, node.domain, node.op);
  if (rule?.evaluate === undefined) return undefined;
  const { op, attributes, name, outputs } = node;
  const opset = opsetOf(context.opsets, node.domain);
  const call = { op, domain: rule.domain, attributes, outputs: outputs.length, opset, name };
  const types = inferTypesOf(rule, { ...call, inputs: inputs.map((each) => each && typeOf(each)) });
  if (types.some(({ shape }) => !isConcrete(shape) || elementCount(shape) > mostComputed)) return undefined;
  try {
    return evaluateCall(rule, { ...call, inputs: inputs as (Tensor | undefined)[] }, types);
  } catch (cause) {
    // Not every form of an op has a rule for constants: the runtime computes what is left.
    if (cause instanceof LoomweightError && cause.code.startsWith("UNSUPPORTED")) return undefined;
    throw cause;
  }
}
