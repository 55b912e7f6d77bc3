import { assemble } from "../assemble.ts";
import { branchesOf, traceBody } from "../evaluate/body.ts";
import { zeroBuffer } from "../gradient/algebra.ts";
import { backpropagate } from "../gradient/gradient.ts";
import { defineGradients, type GradientCall } from "../gradient/rule.ts";
import { input } from "../inputs.ts";
import type { OnnxGraph } from "../model.ts";
import { makeNode } from "../op.ts";
import { scopedName } from "../scope.ts";
import type { GraphValue, Value } from "../value.ts";

/** One branch backwards: from what it takes and dL/d(outputs), by name, to dL/d(each wanted capture). */
function branchBackwards(
  branch: OnnxGraph,
  captures: Readonly<Record<string, GraphValue>>,
  wanted: readonly string[],
  seeds: readonly (GraphValue | undefined)[],
): OnnxGraph {
  const outputs = traceBody(branch, captures);
  const reached = outputs.flatMap((output, index) => {
    const seed = seeds[index];
    return seed === undefined ? [] : [{ output, seed }];
  });
  const ends = wanted.map((name) => captures[name]);
  const found = backpropagate(
    reached.map(({ output }) => output),
    reached.map(({ seed }) => seed),
    ends,
    { closed: true },
  );
  const results = Object.fromEntries(
    found.map((value, index) => [`gradient ${index}`, value ?? zeroBuffer(ends[index])]),
  );
  const inputs = [...Object.values(captures), ...seeds.filter((seed) => seed !== undefined)];
  const { graph } = assemble({ name: branch.name, inputs, outputs: results });
  return { ...graph, inputs: [] }; // they are taken from around it, by the same names
}

/** What bodies do not have: Loop and Scan are refused by name. */
export const controlGradients = /* @__PURE__ */ defineGradients({
  /** An If whose branches compute the gradients of the branches. */
  If(call: GradientCall) {
    const { inputs, captures = {}, upstream, wants, attributes } = call;
    const names = Object.keys(captures);
    const wanted = names.filter((_, index) => wants[inputs.length + index]);
    const around: Record<string, Value> = {};
    const inside: Record<string, GraphValue> = {};
    for (const [index, name] of names.entries()) {
      const { dtype, shape } = captures[name];
      inside[name] = input(`capture ${index}`, dtype, shape);
      around[`capture ${index}`] = captures[name];
    }
    const seeds = upstream.map((dy, index) => {
      if (dy === undefined) return undefined;
      around[`upstream ${index}`] = dy;
      return input(`upstream ${index}`, dy.dtype, dy.shape);
    });
    const [then, otherwise] = branchesOf(call).map((branch) => branchBackwards(branch, inside, wanted, seeds));
    const node = {
      op: "If",
      domain: "",
      inputs: [inputs[0]],
      attributes: {
        ...attributes,
        then_branch: { type: "graph" as const, value: then },
        else_branch: { type: "graph" as const, value: otherwise },
      },
      captures: around,
      name: scopedName("If"),
    };
    const made = makeNode(
      node,
      wanted.map((name) => ({ dtype: captures[name].dtype, shape: captures[name].shape })),
    );
    return [...inputs.map(() => undefined), ...names.map((name) => made[wanted.indexOf(name)])];
  },
});
