import { LoomweightError, type Tensor, toFloat64 } from "@loomweight/tensor";
import { mul } from "../ops/elementwise.ts";
import { reduceSum } from "../ops/reduce.ts";
import type { Runtime, State } from "../runtime/runtime.ts";
import { parametersOf } from "../runtime/state-value.ts";
import { type GraphNode, type GraphValue, isTensor, type Value } from "../value.ts";
import type { StepGraph } from "./step-graph.ts";

/** How many suspicious values are looked at closely. */
const mostLookedAt = 16;

/**
 * Which value of a step is the first that is not finite: runs the step's graph once more over the state as it was
 * before, with a check on every value in the order of computation, the loss before its gradients. The error names it.
 */
export async function findNonFinite(
  runtime: Runtime,
  state: State,
  { built, gradients, program }: StepGraph,
  feeds: Readonly<Record<string, Tensor>>,
  step: number,
): Promise<LoomweightError> {
  for (const [name, tensor] of Object.entries(feeds)) {
    const found = describe(tensor);
    if (found !== undefined) return nonFinite(step, `the input "${name}" of the step has ${found}`, name);
  }
  const ends = [built.parts.loss, ...Object.values(gradients), ...Object.values(program.update ?? {})];
  const values = [...parametersOf(ends), ...inOrder(ends)].filter(({ dtype, shape }) => {
    return dtype === "float32" && shape.every((dim) => typeof dim === "number" && dim > 0);
  });
  const inputs = program.inputs;
  // x · 0 is 0 for every finite x and NaN for all others; its sum says it in one number.
  const checks = values.map((value, index) => [`finite/${index}`, reduceSum(mul(value, 0), undefined, false)]);
  const checker = await runtime.compile({ name: "finite", inputs, outputs: Object.fromEntries(checks) }, state);
  const results = await checker.run(feeds);
  await checker.close();
  const bad = values.filter((_, index) => Number.isNaN(results[`finite/${index}`].data[0]));
  const looked = bad.slice(0, mostLookedAt);
  if (looked.length === 0) {
    return nonFinite(step, "the loss is not finite, though no single value of the step is when it runs again");
  }
  const outputs = Object.fromEntries(looked.map((value, index) => [`value/${index}`, value]));
  const closer = await runtime.compile({ name: "look", inputs, outputs }, state);
  const tensors = await closer.run(feeds);
  await closer.close();
  const said = looked.map((value, index) => ({ value, found: describe(tensors[`value/${index}`]) ?? "" }));
  // Masks hold -Infinity on purpose: what comes first is the first NaN or Infinity, where there is one.
  const first = said.find(({ found }) => /NaN|(?<!-)Infinity/.test(found)) ?? said[0];
  const operands = said.filter(({ value }) => first.value.node?.inputs.includes(value));
  const because = operands.map(({ value, found }) => `its operand ${nameOf(value)} has ${found}`).join(", ");
  return nonFinite(step, `${nameOf(first.value)} has ${first.found}${because && `; ${because}`}`, nameOf(first.value));
}

/** Outputs of nodes, operands first. */
function inOrder(ends: readonly Value[]): GraphValue[] {
  const values: GraphValue[] = [];
  const seen = new Set<GraphNode>();
  const finished = new Set<GraphNode>();
  for (const end of ends) {
    if (isTensor(end) || end.node === undefined) continue;
    const stack = [end.node];
    for (let node = stack.at(-1); node !== undefined; node = stack.at(-1)) {
      if (seen.has(node)) {
        stack.pop();
        if (!finished.has(node)) values.push(...node.outputs);
        finished.add(node);
        continue;
      }
      seen.add(node);
      for (const operand of node.inputs) {
        if (operand !== undefined && !isTensor(operand) && operand.node !== undefined && !seen.has(operand.node)) {
          stack.push(operand.node);
        }
      }
    }
  }
  return values;
}

function nameOf(value: GraphValue): string {
  return value.node?.name ?? value.name ?? "a value";
}

/** "3 NaN of 120"; undefined when all is finite or the dtype has no such values. */
function describe(tensor: Tensor): string | undefined {
  if (tensor.dtype !== "float32" && tensor.dtype !== "float64") return undefined;
  const counts = new Map<string, number>();
  const values = toFloat64(tensor);
  for (const value of values) if (!Number.isFinite(value)) counts.set(`${value}`, (counts.get(`${value}`) ?? 0) + 1);
  if (counts.size === 0) return undefined;
  return [...counts]
    .map(([what, count]) => `${count} × ${what}`)
    .join(" and ")
    .concat(` among ${values.length}`);
}

function nonFinite(step: number, problem: string, node?: string): LoomweightError {
  return new LoomweightError({
    code: "NON_FINITE",
    problem: `step ${step}: ${problem}`,
    node,
    fix: "The state is as it was before this step. Lower the learning rate, clip gradients (`clip: { norm: 1 }`), or mend the value that is named.",
  });
}
