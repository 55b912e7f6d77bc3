import { assemble, type GraphValue, hasKernel, input, mul, reduceSum, type Value } from "@loomweight/graph";
import { sgd } from "@loomweight/optim";
import { expect, test } from "vitest";
import { darts, drnas, gdas, initialWeights, type Sampler, spos } from "../src/index.ts";
import { drawInputsOf, type ForwardDesign } from "../src/search/forward.ts";
import { architectureStep, weightStep } from "../src/search/steps.ts";
import { convolutional, type Example, fixedHeads, transformer } from "./networks.ts";

const examples: readonly Example[] = [convolutional("float32"), transformer(), fixedHeads("float32")];
const samplers: readonly Sampler[] = [darts(), darts({ relaxation: "sparsemax" }), drnas(), gdas(), spos()];

/** Operators of both steps of a search: forward, backward, clipping, update. */
function stepOperators({ space, model, inputs }: Example, sampler: Sampler): Set<string> {
  const all: GraphValue[] = [];
  const fed = (name: string, shape: readonly number[]) => {
    const value = input(name, "float32", shape);
    all.push(value);
    return value;
  };
  const weights = Object.fromEntries(
    Object.entries(initialWeights(space)).map(([name, { shape }]) => [name, fed(name, shape)]),
  );
  const alphas = Object.fromEntries(
    Object.values(space.decisions).map(({ name, choices }) => [name, fed(`alpha/${name}`, [choices.length])]),
  );
  const loss: ForwardDesign["loss"] = (network, batch) => {
    const [y] = Object.values(model(network, batch));
    return reduceSum(mul(y, y), undefined, false);
  };
  const design = { space, sampler, loss, cost: { target: 10, weight: 1 }, clipNorm: 5 };
  const draws = drawInputsOf(design, "float32");
  const call = { weights, alphas, batch: inputs, draws };
  const optimizer = { optimizer: sgd(), state: {}, scalars: { learningRate: fed("rate", []) } };
  const made = [
    weightStep(design, call, optimizer),
    ...(sampler.trains ? [architectureStep(design, call, optimizer)] : []),
  ];
  const outputs: Record<string, Value> = {};
  for (const [i, { parameters }] of made.entries())
    for (const [name, value] of Object.entries(parameters)) outputs[`next ${i} ${name}`] = value;
  for (const each of Object.values(draws)) all.push(...(Object.values(each) as GraphValue[]));
  const { graph } = assemble({ name: "step", inputs: [...all, ...Object.values(inputs)], outputs });
  return new Set(graph.nodes.map(({ op }) => op));
}

test.each(examples)("every operator of a search step has a WebGPU kernel: $name", (example) => {
  for (const sampler of samplers) {
    const ops = [...stepOperators(example, sampler)];
    expect(ops.length).toBeGreaterThan(5);
    // Constants of known shape (the zeros that an embedding's gradient is added to) are folded when a graph is loaded.
    const folded = ["ConstantOfShape"];
    expect(ops.filter((op) => !folded.includes(op) && !hasKernel("webgpu", op, { partly: true }))).toEqual([]);
  }
});
