import { isFloat } from "@loomweight/tensor";
import { input } from "../inputs.ts";
import { makeNode } from "../op.ts";
import { add } from "../ops/elementwise.ts";
import { cast } from "../ops/logic.ts";
import { type Backward, type GraphNode, type GraphValue, isTensor, type Value } from "../value.ts";
import { zeroAfter } from "./algebra.ts";
import { backpropagate } from "./gradient.ts";
import { withBackward } from "./stop.ts";

/**
 * What `build` computes from `inputs`, without keeping its intermediate values for the backward pass: they are computed
 * again when their gradients are due (activation checkpointing). Of a part, its inputs and its result stay in memory; it
 * is computed twice. `build` may use values of the graph beyond its inputs, such as parameters: they get gradients too.
 *
 * The second computation starts from inputs that wait for the gradient that arrives, so neither `assemble` nor
 * onnxruntime can merge it with the first. What depends on no float input of the part is not computed twice.
 */
export function checkpoint(build: (...inputs: readonly Value[]) => Value, inputs: readonly Value[]): Value {
  // The part is built once on placeholders and then copied: for the forward pass, and for the second computation.
  const placeholders = inputs.map((value, index) =>
    isTensor(value) ? value : input(`checkpoint/${index}`, value.dtype, value.shape),
  );
  const built = build(...placeholders);
  const part = partOf(built, placeholders);
  const copyFor = (given: readonly Value[]): Value => copyPart(part, placeholders, given)(built);
  const output = copyFor(inputs);
  if (isTensor(output)) return output;
  return withBackward(
    output,
    { inputs: [...inputs, ...part.outside], pull: secondTime(part, built, placeholders) },
    "Checkpoint",
  );
}

/**
 * The same for a part that is already built: `output` as it is, and what lies between `inputs` and it computed again in
 * the backward pass. For graphs that are not written as functions of their parts, such as imported ones.
 */
export function recompute(output: Value, inputs: readonly Value[]): Value {
  if (isTensor(output)) return output;
  const part = partOf(output, inputs);
  return withBackward(
    output,
    { inputs: [...inputs, ...part.outside], pull: secondTime(part, output, inputs) },
    "Checkpoint",
  );
}

/** The backward pass of a part whose result is `built` from `placeholders`. */
function secondTime(part: Part, built: Value, placeholders: readonly Value[]): Backward["pull"] {
  return ({ upstream, wants, inputs: all }) => {
    const zero = zeroAfter(upstream);
    const waiting = all.slice(0, placeholders.length).map((value) => waitFor(value, zero));
    const outside = all.slice(placeholders.length);
    const again = copyPart(part, [...placeholders, ...part.outside], [...waiting, ...outside])(built);
    const ends = [...waiting, ...outside];
    const wanted = [...new Set(ends.filter((_, index) => wants[index]))] as GraphValue[];
    const found = backpropagate([again], [upstream], wanted, { closed: true });
    return ends.map((value, index) => {
      // One value in two places gets the sum, once.
      if (!wants[index] || ends.indexOf(value) !== index) return undefined;
      return found[wanted.indexOf(value as GraphValue)];
    });
  };
}

interface Part {
  /** Nodes that depend on the inputs, operands first. */
  readonly nodes: readonly GraphNode[];
  /** Float values from outside that they use. */
  readonly outside: readonly GraphValue[];
}

function partOf(result: Value, placeholders: readonly Value[]): Part {
  const inside = new Set<Value>(placeholders.filter((each) => !isTensor(each)));
  const nodes: GraphNode[] = [];
  const state = new Map<GraphNode, "open" | "done">();
  const stack = isTensor(result) || result.node === undefined ? [] : [result.node];
  for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
    const before = state.get(node);
    const operands = [...node.inputs, ...Object.values(node.captures ?? {}), ...(node.backward?.inputs ?? [])];
    if (before !== undefined) {
      stack.pop();
      if (before === "open" && operands.some((each) => each !== undefined && inside.has(each))) {
        nodes.push(node);
        for (const output of node.outputs) inside.add(output);
      }
      state.set(node, "done");
      continue;
    }
    state.set(node, "open");
    for (const operand of operands) {
      if (operand === undefined || isTensor(operand) || operand.node === undefined) continue;
      if (!state.has(operand.node)) stack.push(operand.node);
    }
  }
  const outside = new Set<GraphValue>();
  for (const node of nodes) {
    for (const operand of node.backward?.inputs ?? [...node.inputs, ...Object.values(node.captures ?? {})]) {
      if (operand !== undefined && !isTensor(operand) && !inside.has(operand) && isFloat(operand.dtype)) {
        outside.add(operand);
      }
    }
  }
  return { nodes, outside: [...outside] };
}

/** The part once more, on other inputs: values of the new copy by those of the old. */
function copyPart({ nodes }: Part, from: readonly Value[], to: readonly Value[]): (value: Value) => Value {
  const copies = new Map<Value, Value>(from.map((each, index) => [each, to[index]]));
  const copied = (value: Value): Value => copies.get(value) ?? value;
  for (const node of nodes) {
    const { backward } = node;
    const made = makeNode(
      {
        ...node,
        inputs: node.inputs.map((each) => each && copied(each)),
        captures:
          node.captures &&
          Object.fromEntries(Object.entries(node.captures).map(([name, each]) => [name, copied(each)])),
        backward: backward && { ...backward, inputs: backward.inputs.map(copied) },
      },
      node.outputs,
    );
    for (const [index, output] of node.outputs.entries()) copies.set(output, made[index]);
  }
  return copied;
}

/** `value`, not before the gradient has arrived. Parameters and integers are at hand anyway. */
function waitFor(value: Value, zero: Value): Value {
  if (isTensor(value) || value.kind === "parameter" || !isFloat(value.dtype)) return value;
  return add(value, cast(zero, value.dtype));
}
