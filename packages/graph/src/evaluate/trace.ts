import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { buildOpset, evaluateCall, inferTypesOf, typeOf } from "../op.ts";
import { findRule, opTables } from "../ops/catalogue.ts";
import { type GraphNode, isTensor, type Value } from "../value.ts";
import { branch } from "./body.ts";

/**
 * Values of a trace computed here, without a runtime: node by node by the ops' rules for constants, in float64 where
 * the feeds are float64. `feeds` gives inputs and parameters by name. Throws `MISSING_INPUT`, `UNSUPPORTED_OP` where
 * an op has no such rule, and what the rules throw.
 */
export function evaluateTrace<K extends string>(
  outputs: Readonly<Record<K, Value>>,
  feeds: Readonly<Record<string, Tensor>>,
): Record<K, Tensor> {
  const tables = opTables();
  const results = new Map<Value, Tensor>();
  const tensorOf = (value: Value): Tensor | undefined => {
    if (isTensor(value)) return value;
    const known = results.get(value);
    if (known !== undefined || value.kind === "node") return known;
    const fed = Object.hasOwn(feeds, value.name ?? "") ? feeds[value.name ?? ""] : undefined;
    if (fed === undefined || fed.dtype !== value.dtype) {
      throw new LoomweightError({
        code: "MISSING_INPUT",
        problem: `"${value.name}" is not fed`,
        expected: `${value.dtype} [${value.shape}]`,
        found: fed === undefined ? "nothing" : fed.dtype,
      });
    }
    return fed;
  };
  const run = (node: GraphNode) => {
    if (node.op === "If" && node.captures !== undefined) {
      const captures = Object.fromEntries(
        Object.entries(node.captures).map(([name, each]) => [name, tensorOf(each) as Tensor]),
      );
      const chosen = branch(node.attributes, tensorOf(node.inputs[0] as Value) as Tensor, captures);
      for (const [index, output] of node.outputs.entries()) results.set(output, chosen[index] as Tensor);
      return;
    }
    const rule = findRule(tables, node.domain, node.op);
    if (rule === undefined) {
      throw new LoomweightError({
        code: "UNSUPPORTED_OP",
        problem: `${node.op} is not known here`,
        node: node.name,
      });
    }
    const inputs = node.inputs.map((each) => each && tensorOf(each));
    const { op, domain, attributes, name } = node;
    const opset = domain === "" ? buildOpset : 1;
    const call = { op, domain, attributes, name, outputs: node.outputs.length, opset };
    const types = inferTypesOf(rule, { ...call, inputs: inputs.map((each) => each && typeOf(each)) });
    for (const [index, tensor] of evaluateCall(rule, { ...call, inputs }, types).entries()) {
      if (index < node.outputs.length) results.set(node.outputs[index], tensor);
    }
  };
  const done = new Set<GraphNode>();
  for (const output of Object.values<Value>(outputs)) {
    if (isTensor(output) || output.node === undefined) continue;
    const stack = [output.node];
    for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
      const open = done.has(node)
        ? []
        : [...node.inputs, ...Object.values(node.captures ?? {})].flatMap((each) =>
            each === undefined || isTensor(each) || each.node === undefined || done.has(each.node) ? [] : [each.node],
          );
      if (open.length > 0) {
        stack.push(...open);
        continue;
      }
      stack.pop();
      if (done.has(node)) continue;
      done.add(node);
      run(node);
    }
  }
  return Object.fromEntries(
    Object.entries<Value>(outputs).map(([name, value]) => [name, tensorOf(value) as Tensor]),
  ) as Record<K, Tensor>;
}
