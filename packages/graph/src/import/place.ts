import { elementCount, LoomweightError, type Tensor, unknownName } from "@loomweight/tensor";
import { isConcrete } from "../dims.ts";
import { type InferContext, inferNode, isStandard, mergeType, opsetOf, type TypeScope } from "../infer.ts";
import { parameter } from "../inputs.ts";
import type { OnnxGraph, OnnxNode, ValueInfo } from "../model.ts";
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
import { findRule } from "../ops/catalogue.ts";
import { freeValues, subgraphsOf } from "../rewrite.ts";
import { isTensor, type Value } from "../value.ts";

/** Larger results than this are left to the runtime even where all operands are constants. */
const mostComputed = 2 ** 22;

/** A value of an imported graph where it is made. */
export interface ValueSite {
  /** Its name in the file. */
  readonly name: string;
  readonly node: OnnxNode;
  readonly value: Value;
}

/** A value by its name; throws `UNKNOWN_VALUE`. */
export function valueNamed(values: ReadonlyMap<string, Value>, name: string): Value {
  const found = values.get(name);
  if (found !== undefined) return found;
  throw unknownName({ kind: "value", name, known: values.keys(), code: "UNKNOWN_VALUE" });
}

/** What placing nodes needs to know and fills. */
export interface Placing {
  readonly values: Map<string, Value>;
  readonly scope: TypeScope;
  readonly context: InferContext;
  readonly prefix: string | undefined;
  readonly change: ((site: ValueSite) => Value | undefined) | undefined;
  readonly declared: (name: string) => Pick<ValueInfo, "dtype" | "shape"> | undefined;
}

/** Nodes in order; each finds its operands among the values, and adds its results. */
export function placeAll(nodes: readonly OnnxNode[], placing: Placing): void {
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
