import { elementCount, isFloat, LoomweightError } from "@loomweight/tensor";
import { isConcrete } from "../dims.ts";
import { findGradient, gradientTables } from "../gradients/catalogue.ts";
import { named } from "../scope.ts";
import { type GraphNode, type GraphValue, isTensor, type Value } from "../value.ts";
import { filled, plus, zerosLike } from "./algebra.ts";
import type { GradientCall, GradientTable } from "./rule.ts";

export interface GradientOptions {
  /** dL/d(loss) of each loss, of its shape; default 1, which asks for a loss of one element. */
  readonly upstream?: Value | readonly (Value | undefined)[];
  /** Rules beyond those known here, by domain and op; they win over the known ones. */
  readonly tables?: Readonly<Record<string, GradientTable>>;
}

/**
 * dL/dv for each of `values` (a list or a record), by reverse-mode differentiation of the trace behind `loss`: new
 * nodes, of the shape and dtype of each value; zeros where the loss does not depend on it. Several losses are summed.
 * The result can be differentiated again.
 *
 * Throws `NO_GRADIENT` naming operator, node and the path from the loss where an op has no rule, `INVALID_LOSS` where
 * a loss is no float of one element, `INVALID_OPERAND` where a value is a constant or no float, `SYMBOLIC_SHAPE`.
 */
export function gradient(loss: Value | readonly Value[], values: Value, options?: GradientOptions): Value;
export function gradient(
  loss: Value | readonly Value[],
  values: readonly Value[],
  options?: GradientOptions,
): readonly Value[];
export function gradient<K extends string>(
  loss: Value | readonly Value[],
  values: Readonly<Record<K, Value>>,
  options?: GradientOptions,
): Record<K, Value>;
export function gradient(
  loss: Value | readonly Value[],
  values: Value | readonly Value[] | Readonly<Record<string, Value>>,
  options: GradientOptions = {},
): Value | readonly Value[] | Record<string, Value> {
  const losses = isList(loss) ? loss : [loss];
  const given = options.upstream;
  const upstream = given === undefined || isList(given) ? (given ?? []) : [given];
  const seeds = losses.map((each, index) => seedOf(each, upstream[index]));
  const wanted = isList(values) ? values : isValue(values) ? [values] : Object.values(values);
  for (const value of wanted) checkWanted(value);
  const found = backpropagate(losses, seeds, wanted as readonly GraphValue[], { tables: options.tables });
  const results = wanted.map((value, index) => found[index] ?? zerosLike(value));
  if (isList(values)) return results;
  if (isValue(values)) return results[0];
  return Object.fromEntries(Object.keys(values).map((name, index) => [name, results[index]]));
}

const isList = <T>(value: T | readonly T[]): value is readonly T[] => Array.isArray(value);
const isValue = (value: object): value is Value => "dtype" in value && typeof value.dtype === "string";

function seedOf(loss: Value, upstream: Value | undefined): Value {
  if (!isFloat(loss.dtype)) {
    throw new LoomweightError({
      code: "INVALID_LOSS",
      problem: "only floats can be differentiated",
      expected: "a floating-point loss",
      found: loss.dtype,
    });
  }
  if (upstream === undefined) {
    if (isConcrete(loss.shape) && elementCount(loss.shape) === 1) return filled(1, loss.shape, loss);
    throw new LoomweightError({
      code: "INVALID_LOSS",
      problem: "a loss has one element",
      expected: "shape []",
      found: `[${loss.shape}]`,
      fix: "Take its mean or sum, or give `upstream` of its shape.",
    });
  }
  if (upstream.dtype !== loss.dtype || `${upstream.shape}` !== `${loss.shape}`) {
    throw new LoomweightError({
      code: "INVALID_OPERAND",
      problem: "`upstream` has another type than the loss",
      expected: `${loss.dtype} [${loss.shape}]`,
      found: `${upstream.dtype} [${upstream.shape}]`,
    });
  }
  return upstream;
}

function checkWanted(value: Value): void {
  if (!isTensor(value) && isFloat(value.dtype)) return;
  throw new LoomweightError({
    code: "INVALID_OPERAND",
    problem: "gradients are taken with respect to floating-point inputs, parameters and results of a graph",
    expected: "a float value of a graph",
    found: isTensor(value) ? `a constant [${value.shape}]` : value.dtype,
    fix: "Make it an `input` or a `parameter`.",
  });
}

/** The values through which gradients pass a node, in the order in which its rule returns them. */
function sourcesOf(node: GraphNode): readonly (Value | undefined)[] {
  if (node.backward !== undefined) return node.backward.inputs;
  return node.captures === undefined ? node.inputs : [...node.inputs, ...Object.values(node.captures)];
}

/** Nodes behind `outputs`, operands first, and for each the node that led to it. Does not look behind `leaves`. */
function sortTrace(
  outputs: readonly Value[],
  leaves: ReadonlySet<Value>,
): { sorted: GraphNode[]; consumers: Map<GraphNode, GraphNode> } {
  const sorted: GraphNode[] = [];
  const consumers = new Map<GraphNode, GraphNode>();
  const state = new Map<GraphNode, "open" | "done">();
  for (const output of outputs) {
    if (isTensor(output) || output.node === undefined || leaves.has(output)) continue;
    const stack = [output.node];
    for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
      const before = state.get(node);
      if (before !== undefined) {
        stack.pop();
        if (before === "open") sorted.push(node);
        state.set(node, "done");
        continue;
      }
      state.set(node, "open");
      for (const source of sourcesOf(node)) {
        if (source === undefined || isTensor(source) || source.node === undefined || leaves.has(source)) continue;
        if (state.has(source.node)) continue;
        consumers.set(source.node, node);
        stack.push(source.node);
      }
    }
  }
  return { sorted, consumers };
}

/**
 * The reverse walk: dL/dw for each of `wanted`, or undefined where nothing reaches it. With `closed`, wanted values are
 * taken as independent of one another: the walk does not look behind them.
 */
export function backpropagate(
  outputs: readonly Value[],
  seeds: readonly Value[],
  wanted: readonly GraphValue[],
  options: { readonly tables?: Readonly<Record<string, GradientTable>>; readonly closed?: boolean } = {},
): readonly (Value | undefined)[] {
  const ends = new Set<Value>(wanted);
  const { sorted, consumers } = sortTrace(outputs, options.closed ? ends : new Set());
  // Which values depend on a wanted one: gradients flow to these alone.
  const depends = new Set<Value>(wanted);
  for (const node of sorted) {
    if (!sourcesOf(node).some((source) => source !== undefined && depends.has(source))) continue;
    for (const output of node.outputs) if (isFloat(output.dtype)) depends.add(output);
  }
  const arrived = new Map<Value, Value>();
  const send = (value: Value, part: Value) => {
    const before = arrived.get(value);
    arrived.set(value, before === undefined ? part : plus(before, part));
  };
  for (const [index, output] of outputs.entries()) if (depends.has(output)) send(output, seeds[index]);
  const tables = gradientTables();
  for (let at = sorted.length - 1; at >= 0; at--) {
    const node = sorted[at];
    const upstream = node.outputs.map((output) =>
      options.closed && ends.has(output) ? undefined : arrived.get(output),
    );
    if (upstream.every((each) => each === undefined)) continue;
    const sources = sourcesOf(node);
    const wants = sources.map((source) => source !== undefined && depends.has(source));
    if (!wants.includes(true)) continue;
    const parts = named(`gradient${node.name ?? `/${node.op}`}`, () => pull(node, upstream, wants));
    for (const [index, part] of parts.entries()) {
      const source = sources[index];
      if (wants[index] && part !== undefined && source !== undefined) send(source, checked(node, source, part, index));
    }
  }
  return wanted.map((value) => arrived.get(value));

  function pull(
    node: GraphNode,
    upstream: readonly (Value | undefined)[],
    wants: readonly boolean[],
  ): readonly (Value | undefined)[] {
    const { backward } = node;
    if (backward !== undefined) {
      const [dy, result] = [upstream[0] as Value, node.inputs[0] as Value];
      return backward.pull({ upstream: dy, wants, inputs: backward.inputs, result });
    }
    const rule = findGradient(options.tables, node.domain, node.op) ?? findGradient(tables, node.domain, node.op);
    const { op, domain, name, attributes, inputs, captures, outputs } = node;
    const call: GradientCall = { op, domain, name, attributes, inputs, captures, outputs, upstream, wants };
    if (rule === undefined) throw noRule(node, consumers);
    return rule(call);
  }
}

/** A rule must give what its input has; broadcasting would hide a wrong one. */
function checked(node: GraphNode, source: Value, part: Value, index: number): Value {
  const same = source.shape.length === part.shape.length && source.dtype === part.dtype;
  const alike = source.shape.every(
    (size, axis) => typeof size !== "number" || typeof part.shape[axis] !== "number" || size === part.shape[axis],
  );
  if (same && alike) return part;
  throw new LoomweightError({
    code: "INVALID_GRADIENT",
    problem: `the gradient of ${node.op} for input ${index} is not of the input's type`,
    node: node.name,
    expected: `${source.dtype} [${source.shape}]`,
    found: `${part.dtype} [${part.shape}]`,
  });
}

function noRule(node: GraphNode, consumers: ReadonlyMap<GraphNode, GraphNode>): LoomweightError {
  const path: string[] = [];
  for (let at = consumers.get(node); at !== undefined && path.length < 20; at = consumers.get(at)) {
    path.unshift(at.name ?? at.op);
  }
  const looped = node.op === "Loop" || node.op === "Scan";
  return new LoomweightError({
    code: "NO_GRADIENT",
    problem: `${node.domain === "" ? "" : `${node.domain}.`}${node.op} cannot be differentiated${looped ? ": loops are not" : ""}`,
    node: node.name ?? node.op,
    found: `on the path ${[...path, node.name ?? node.op].join(" ← ")}`,
    fix: looped
      ? "Unroll the loop, or cut it off: `stopGradient`."
      : "Give a rule in `tables`, wrap it in `customGradient`, or cut it off: `stopGradient`.",
  });
}
