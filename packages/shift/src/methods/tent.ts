import type { Optimizer } from "@loomweight/graph/training";
import { adam } from "@loomweight/optim";
import { boolean, choice, integer, nonNegative, type OptionValues, type Tensor, toFloat64 } from "@loomweight/tensor";
import { statisticsOptions } from "../batch-statistics.ts";
import { defineShiftMethod } from "../define.ts";
import type { GraphClassifier } from "../graph-classifier.ts";
import { meanEntropy } from "../losses.ts";
import { missingNorms } from "../missing-norms.ts";
import { optimizerFeeds, placeOptimizerStep, prefixed, stateValuesOf } from "../optimizer-step.ts";
import { predicted } from "../predicted.ts";
import { statePart } from "../state-part.ts";
import type { TentFunctions, TentState } from "../trained.ts";
import type { Workbench } from "../workbench.ts";

const options = {
  learningRate: nonNegative(1e-3, "rate of the optimizer"),
  steps: integer(1, "updates for each batch", { min: 1 }),
  layers: choice(
    ["auto", "batch", "all"],
    "auto",
    "which normalizations are trained; auto: batch where there are any, else all",
  ),
  predict: choice(["before", "after"], "before", "whether a batch is predicted before its update or again after it"),
  episodic: boolean(false, "starts over for every batch"),
  ...statisticsOptions,
};

type Options = OptionValues<typeof options> & TentFunctions;

/**
 * TENT: makes predictions more certain. Each batch: logits z with statistics of the batch, loss = mean H(softmax(z)),
 * one optimizer step on γ and β of the normalizations; z from before the step is the prediction.
 * Source: Wang et al. 2021, arXiv:2006.10726.
 * Differs: `layers` also takes normalizations over features, for models without batch normalization; `statistics`
 * "prior" for small batches.
 */
export const tent = defineShiftMethod({
  name: "tent",
  source: "arXiv:2006.10726",
  summary: "Lowers the entropy of predictions by training scales and shifts of normalizations, batch by batch.",
  options,
  functions: ["optimizer"],
  init: start,
  async predict(model, state, x, given) {
    const bench = await benchOf(model, given);
    return bench.use(state, () => forward(bench, model, state, x, given));
  },
  async update(model, state, x, given) {
    const from = given.episodic ? await start(model, given) : state;
    const optimizer = optimizerOf(given);
    const bench = await benchOf(model, given);
    return bench.use(from, async () => {
      const program = await updateProgram(bench, model, from, x, given);
      let updates = from.updates;
      let logits: Tensor | undefined;
      let entropy = Number.NaN;
      for (let step = 0; step < given.steps; step++) {
        const feeds = optimizerFeeds(optimizer, ++updates, given.learningRate, parametersOf(from));
        const found = await program.run({ x, ...feeds });
        logits = found.logits;
        entropy = toFloat64(found.loss)[0];
      }
      const before = predicted(logits as Tensor, { entropy });
      const prediction = given.predict === "before" ? before : await forward(bench, model, from, x, given);
      return { state: await bench.advance<TentState>({ updates }), prediction };
    });
  },
});

async function start(model: GraphClassifier, given: Options): Promise<TentState> {
  const parameters = await model.read(trainedNames(model, given));
  const moments = optimizerOf(given).init(parameters);
  return { ...prefixed("parameter/", parameters), ...prefixed("optimizer/", moments), updates: 0 };
}

const optimizerOf = ({ optimizer = adam() }: TentFunctions): Optimizer => optimizer;

/** γ and β of the layers that are trained, each once. */
function trainedNames(model: GraphClassifier, { layers }: Options): string[] {
  const batch = model.norms.filter(({ kind }) => kind === "batch");
  const chosen = layers === "all" || (layers === "auto" && batch.length === 0) ? model.norms : batch;
  const names = chosen.flatMap(({ weight, bias }) => [weight, bias]).filter((name) => name !== undefined);
  if (names.length === 0) throw missingNorms("tent", layers === "batch" ? "batch normalization" : "normalization");
  return [...new Set(names)];
}

const parametersOf = (state: TentState) => statePart(state, "parameter/");

function benchOf(model: GraphClassifier, given: Options): Promise<Workbench> {
  return model.benches.get(given, async () => ({ start: await start(model, given) }));
}

async function forward(bench: Workbench, model: GraphClassifier, state: TentState, x: Tensor, given: Options) {
  const program = await bench.program(`predict ${x.dtype} ${x.shape}`, () => {
    const batch = model.inputLike(x);
    const parameters = stateValuesOf("parameter/", parametersOf(state));
    return { inputs: { x: batch }, outputs: { logits: model.forward(batch, { ...given, parameters }).logits } };
  });
  return predicted((await program.run({ x })).logits);
}

function updateProgram(bench: Workbench, model: GraphClassifier, state: TentState, x: Tensor, given: Options) {
  return bench.program(`update ${x.dtype} ${x.shape}`, () => {
    const batch = model.inputLike(x);
    const tensors = parametersOf(state);
    const logitsAt = (parameters: Parameters<typeof model.forward>[1]["parameters"]) =>
      model.forward(batch, { ...given, parameters }).logits;
    const parameters = stateValuesOf("parameter/", tensors);
    const step = placeOptimizerStep({
      optimizer: optimizerOf(given),
      parameters,
      state: stateValuesOf("optimizer/", statePart(state, "optimizer/")),
      tensors,
      loss: (at) => meanEntropy(logitsAt(at)),
    });
    return {
      name: "tent",
      inputs: [batch, ...step.inputs],
      outputs: { logits: logitsAt(parameters), loss: step.loss },
      update: { ...prefixed("parameter/", step.parameters), ...prefixed("optimizer/", step.state) },
    };
  });
}
