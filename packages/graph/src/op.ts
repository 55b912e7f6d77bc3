import { type DType, dtypeFacts, elementCount, fromData, LoomweightError, type Tensor } from "@loomweight/tensor";
import { isConcrete } from "./dims.ts";
import { numbersTensor } from "./evaluate/numbers.ts";
import { scopedName } from "./scope.ts";
import {
  type Attributes,
  type Backward,
  type Dim,
  type GraphValue,
  isTensor,
  type Operand,
  type Value,
} from "./value.ts";

/** What inference knows about an operand. */
export interface ValueType {
  readonly dtype: DType;
  readonly shape: readonly Dim[];
  /** Its elements, where it is a short integer vector or scalar that follows from shapes. */
  readonly known?: readonly Dim[];
  /** Its elements, where it is a constant. */
  readonly tensor?: Tensor;
}

/** One use of an op: what its rule sees. */
export interface OpCall {
  readonly op: string;
  readonly domain: string;
  /** undefined = an optional input left out. */
  readonly inputs: readonly (ValueType | undefined)[];
  readonly attributes: Attributes;
  /** How many outputs are wanted. */
  readonly outputs: number;
  /** Version of the op's domain. */
  readonly opset: number;
  /** Name of the node, for messages. */
  readonly name?: string;
}

/** A call whose inputs are all constants. */
export interface ConstantCall extends Omit<OpCall, "inputs"> {
  readonly inputs: readonly (Tensor | undefined)[];
  /** What `infer` gave for it: shapes are concrete. */
  readonly types: readonly { readonly dtype: DType; readonly shape: readonly number[] }[];
}

/** A tensor in a sample: a shape alone is float32 with a fixed pattern of values between `low` and `high`. */
export type SampleTensor =
  | readonly number[]
  | {
      readonly shape: readonly number[];
      readonly dtype?: DType;
      readonly values?: readonly number[];
      /** Default -2 and 2. */
      readonly low?: number;
      readonly high?: number;
    };

/** One use of an op that the tests run: inferred, evaluated here and by onnxruntime. */
export interface Sample {
  readonly inputs: readonly (SampleTensor | undefined)[];
  readonly attributes?: Attributes;
  /** Default 1. */
  readonly outputs?: number;
  /** Which inputs must be constants in the graph, as shapes and axes usually are: default all int64 inputs but the first. */
  readonly constants?: readonly number[];
  /** Largest difference from onnxruntime, relative to the largest magnitude; default 1e-5. */
  readonly tolerance?: number;
}

/** All that is known about an op; one row of a table. */
export interface OpRule {
  /** Fewest and most inputs. */
  readonly inputs: readonly [number, number];
  /** Types of the outputs, from those of the inputs; throws `SHAPE_MISMATCH`, `DTYPE_MISMATCH`, `INVALID_ATTRIBUTE`. */
  infer(call: OpCall): readonly ValueType[];
  /** Values of the outputs; absent: the op is left to the runtime. */
  evaluate?(call: ConstantCall): readonly Tensor[];
  readonly samples: readonly Sample[];
}

export type OpTable = Readonly<Record<string, OpRule>>;

/** A rule with the name it goes by. */
export interface NamedRule extends OpRule {
  readonly op: string;
  readonly domain: string;
}

/** Domain of onnxruntime's own operators. */
export const contrib = "com.microsoft";

/** A table of rules by the names of their ops. */
export function defineOps<K extends string>(rows: Readonly<Record<K, OpRule>>): Readonly<Record<K, OpRule>> {
  return rows;
}

/** The row `op` of `table`, with its name. */
export function ruleOf<K extends string>(table: Readonly<Record<K, OpRule>>, op: K, domain = ""): NamedRule {
  return { ...table[op], op, domain };
}

export interface ApplyOptions {
  readonly attributes?: Attributes;
  /** How many outputs are wanted; default 1. */
  readonly outputs?: number;
  /** Name of the node inside its scope; default the op. */
  readonly name?: string;
}

/** Opset of graphs built here. */
export const buildOpset = 21;

/**
 * One op: evaluated at once when every operand is a tensor and the rule can, otherwise a node. Results whose elements
 * follow from static shapes are tensors too.
 */
export function apply(
  rule: NamedRule,
  operands: readonly (Operand | undefined)[],
  options: ApplyOptions = {},
): readonly Value[] {
  const values = withoutTrailing(numbersToTensors(rule.op, operands));
  const call = {
    op: rule.op,
    domain: rule.domain,
    attributes: options.attributes ?? {},
    outputs: options.outputs ?? 1,
    opset: rule.domain === "" ? buildOpset : 1,
    name: scopedName(options.name ?? rule.op),
  };
  const types = inferTypesOf(rule, { ...call, inputs: values.map((value) => value && typeOf(value)) });
  if (rule.evaluate !== undefined && values.every((value) => value === undefined || isTensor(value))) {
    return evaluateCall(rule, { ...call, inputs: values as (Tensor | undefined)[] }, types);
  }
  return knownTensors(types) ?? makeNode({ ...call, inputs: values }, types);
}

/** As `apply`, for ops with one output. */
export function applyOne(
  rule: NamedRule,
  operands: readonly (Operand | undefined)[],
  attributes?: Attributes,
  name?: string,
): Value {
  return apply(rule, operands, { attributes, name })[0];
}

/** Checks the number of inputs and infers; every fault names op and node. */
export function inferTypesOf(rule: NamedRule, call: OpCall): readonly ValueType[] {
  const [fewest, most] = rule.inputs;
  const given = call.inputs.length;
  if (given < fewest || given > most || call.inputs.slice(0, fewest).some((input) => input === undefined)) {
    throw new LoomweightError({
      code: "INVALID_NODE",
      problem: `${rule.op}: wrong number of inputs`,
      node: call.name,
      expected:
        fewest === most ? `${fewest}` : `${fewest} to ${most === Number.POSITIVE_INFINITY ? "any number" : most}`,
      found: `${given}`,
    });
  }
  return named(call, () => rule.infer(call));
}

/** Runs a rule; what it trips over in a malformed node (a missing size, a list of the wrong length) is named. */
function named<T>(call: { readonly op: string; readonly name?: string }, work: () => T): T {
  try {
    return work();
  } catch (cause) {
    if (cause instanceof LoomweightError) throw cause;
    throw new LoomweightError({
      code: "INVALID_NODE",
      problem: `${call.op} does not fit its inputs and attributes: ${cause instanceof Error ? cause.message : cause}`,
      node: call.name,
      cause,
    });
  }
}

/** Runs a rule on constants. The types are what `infer` gave; throws `UNKNOWN_SHAPE` when a shape depends on data. */
export function evaluateCall(
  rule: NamedRule,
  call: Omit<ConstantCall, "types">,
  types: readonly ValueType[],
): readonly Tensor[] {
  if (rule.evaluate === undefined) {
    throw new LoomweightError({
      code: "UNSUPPORTED_OP",
      problem: `${rule.op} has no rule for constants`,
      node: call.name,
      fix: "Run it through a graph instead: `evaluate` of @loomweight/graph/node.",
    });
  }
  const { evaluate } = rule;
  const results = named(call, () => evaluate({ ...call, types: types as ConstantCall["types"] }));
  if (results.length >= call.outputs) return results;
  throw new LoomweightError({
    code: "UNSUPPORTED_OP",
    problem: `${rule.op} gives only its first ${results.length === 1 ? "output" : `${results.length} outputs`} for constants`,
    node: call.name,
  });
}

/** The type of a value; constants carry themselves. */
export function typeOf(value: Value): ValueType {
  if (isTensor(value)) return { dtype: value.dtype, shape: value.shape, tensor: value };
  return { dtype: value.dtype, shape: value.shape, known: value.known };
}

/** Adds a node to the trace: its outputs, as values; `names` are those they had in a file. */
export function makeNode(
  node: {
    op: string;
    domain: string;
    inputs: readonly (Value | undefined)[];
    attributes: Attributes;
    captures?: Readonly<Record<string, Value>>;
    name?: string;
    backward?: Backward;
  },
  types: readonly ValueType[],
  names: readonly (string | undefined)[] = [],
): readonly GraphValue[] {
  const outputs: GraphValue[] = [];
  const made = {
    op: node.op,
    domain: node.domain,
    inputs: node.inputs,
    attributes: node.attributes,
    ...(node.captures === undefined ? {} : { captures: node.captures }),
    name: node.name,
    outputs,
    ...(node.backward === undefined ? {} : { backward: node.backward }),
  };
  for (const [output, { dtype, shape, known }] of types.entries()) {
    const name = names[output];
    outputs.push({
      kind: "node",
      dtype,
      shape,
      node: made,
      output,
      ...(known === undefined ? {} : { known }),
      ...(name === undefined ? {} : { name }),
    });
  }
  return outputs;
}

export function withoutTrailing(values: readonly (Value | undefined)[]): readonly (Value | undefined)[] {
  let length = values.length;
  while (length > 0 && values[length - 1] === undefined) length--;
  return values.slice(0, length);
}

function numbersToTensors(op: string, operands: readonly (Operand | undefined)[]): (Value | undefined)[] {
  const model = operands.find((operand) => typeof operand === "object");
  // A condition says nothing about the dtype of the numbers it chooses between.
  const other = operands.find((operand) => typeof operand === "object" && operand.dtype !== "bool");
  const dtype = ((other ?? model) as Value | undefined)?.dtype ?? "float32";
  return operands.map((operand) => (typeof operand === "number" ? scalarOf(operand, dtype, op) : operand));
}

/** A rank-0 tensor of a dtype; throws `INVALID_OPERAND` when the dtype cannot hold the number. */
export function scalarOf(value: number, dtype: DType, where = "scalar"): Tensor {
  return numbersTensor([value], [], dtype, where);
}

/** int64 vector, as shapes, axes and pads are written. */
export function int64Vector(values: readonly (number | bigint)[]): Tensor<"int64"> {
  return fromData("int64", BigInt64Array.from(values, BigInt), [values.length]);
}

/** Results whose elements follow from static shapes; undefined unless all do. */
export function knownTensors(types: readonly ValueType[]): readonly Tensor[] | undefined {
  return types.every(hasKnownValue) ? types.map(tensorOfKnown) : undefined;
}

function hasKnownValue(type: ValueType): boolean {
  return type.known !== undefined && isConcrete(type.known) && isConcrete(type.shape);
}

function tensorOfKnown(type: ValueType): Tensor {
  return numbersTensor(
    type.known as readonly number[],
    type.shape as readonly number[],
    type.dtype,
    "shape arithmetic",
  );
}

/** Elements of a value that are known when building, as sizes: of constants, and of what follows from shapes. */
export function knownElements(value: ValueType | undefined): readonly Dim[] | undefined {
  if (value === undefined) return undefined;
  if (value.known !== undefined) return value.known;
  const { tensor } = value;
  if (tensor === undefined || tensor.shape.length > 1 || elementCount(tensor.shape) > 1024) return undefined;
  const kind = dtypeFacts[tensor.dtype].kind;
  if (kind !== "integer" && kind !== "unsigned") return undefined;
  const numbers = integersOf(tensor);
  return numbers.every(Number.isSafeInteger) ? numbers : undefined;
}

/** As `knownElements`, but only when every element is a number. */
export function knownNumbers(value: ValueType | undefined): readonly number[] | undefined {
  const known = knownElements(value);
  return known !== undefined && isConcrete(known) ? known : undefined;
}

/** Elements of an integer tensor as numbers, row-major. */
export function integersOf(tensor: Tensor): number[] {
  const count = elementCount(tensor.shape);
  const numbers = new Array<number>(count);
  const data = tensor.data as ArrayLike<number | bigint>;
  const index = new Array<number>(tensor.shape.length).fill(0);
  let at = tensor.offset;
  for (let i = 0; i < count; i++) {
    numbers[i] = Number(data[at]);
    for (let axis = tensor.shape.length - 1; axis >= 0; axis--) {
      at += tensor.stride[axis];
      if (++index[axis] < tensor.shape[axis]) break;
      at -= tensor.stride[axis] * tensor.shape[axis];
      index[axis] = 0;
    }
  }
  return numbers;
}
