import { LoomweightError } from "@loomweight/tensor";
import { parameter } from "../inputs.ts";
import type { OnnxGraph } from "../model.ts";
import { apply, makeNode } from "../op.ts";
import { findRule, opTables } from "../ops/catalogue.ts";
import { freeValues, subgraphsOf } from "../rewrite.ts";
import { scopedName } from "../scope.ts";
import { type Attributes, isTensor, type Value } from "../value.ts";

/**
 * The outputs of a body without inputs, such as a branch of an If, as values: its nodes on what it takes from around
 * it, by name. Ops on constants are computed at once. Throws `UNSUPPORTED_OP` for an op that no rule describes.
 */
export function traceBody(body: OnnxGraph, around: Readonly<Record<string, Value>>): readonly Value[] {
  const tables = opTables();
  const values = new Map<string, Value>(Object.entries(around));
  for (const [name, { data }] of body.initializers) values.set(name, parameter(name, data));
  const named = (name: string): Value => {
    const value = values.get(name);
    if (value !== undefined) return value;
    throw new LoomweightError({ code: "INVALID_GRAPH", problem: `nothing makes the value "${name}" of a body` });
  };
  for (const node of body.nodes) {
    const inputs = node.inputs.map((name) => (name === "" ? undefined : named(name)));
    const { op, domain, attributes } = node;
    const branches = subgraphsOf(node);
    const results = branches.length === 0 ? applied() : nested();
    for (const [index, name] of node.outputs.entries()) if (name !== "") values.set(name, results[index]);

    function applied(): readonly Value[] {
      const rule = findRule(tables, domain, op);
      if (rule === undefined) throw notKnown(op, node.name);
      return apply(rule, inputs, { attributes, outputs: node.outputs.length, name: node.name || op });
    }
    function nested(): readonly Value[] {
      const free = [...new Set(branches.flatMap((branch) => freeValues(branch)))];
      const captures = Object.fromEntries(free.map((name) => [name, named(name)]));
      if (op !== "If") throw notKnown(op, node.name);
      return branch(attributes, inputs[0] as Value, captures, node.name || op);
    }
  }
  return body.outputs.map(({ name }) => named(name));
}

/** An If on values: the outputs of the branch that a constant condition chooses, else a node. */
export function branch(
  attributes: Attributes,
  condition: Value,
  captures: Readonly<Record<string, Value>>,
  name = "If",
): readonly Value[] {
  const [then, otherwise] = branchesOf({ op: "If", attributes });
  if (isTensor(condition)) return traceBody(isTrue(condition) ? then : otherwise, captures);
  const [a, b] = [traceBody(then, captures), traceBody(otherwise, captures)];
  const types = a.map(({ dtype, shape }, index) => ({
    dtype,
    shape:
      shape.length === b[index].shape.length
        ? shape.map((size, i) => (size === b[index].shape[i] ? size : "?"))
        : shape,
  }));
  return makeNode({ op: "If", domain: "", inputs: [condition], attributes, captures, name: scopedName(name) }, types);
}

const isTrue = ({ data, offset }: Extract<Value, { readonly data: unknown; readonly offset: number }>): boolean =>
  (data as Uint8Array)[offset] !== 0;

/** Both branches of an If. */
export function branchesOf(owner: {
  readonly op: string;
  readonly name?: string;
  readonly attributes: Attributes;
}): [OnnxGraph, OnnxGraph] {
  const graphs = ["then_branch", "else_branch"].map((name) => {
    const attribute = owner.attributes[name];
    if (attribute?.type === "graph") return attribute.value;
    throw new LoomweightError({ code: "INVALID_ATTRIBUTE", problem: `If has no ${name}`, node: owner.name });
  });
  return [graphs[0], graphs[1]];
}

function notKnown(op: string, name: string): LoomweightError {
  return new LoomweightError({ code: "UNSUPPORTED_OP", problem: `${op} inside a body is not known here`, node: name });
}
