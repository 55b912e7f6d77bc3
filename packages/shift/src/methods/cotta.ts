import { add, greater, input, mul, type Program, type Value, where } from "@loomweight/graph";
import type { Optimizer } from "@loomweight/graph/training";
import { adam } from "@loomweight/optim";
import {
  boolean,
  choice,
  createRandom,
  integer,
  invalidOption,
  nonNegative,
  type OptionValues,
  type Random,
  type Tensor,
  toFloat64,
  unitInterval,
} from "@loomweight/tensor";
import { statisticsOptions } from "../batch-statistics.ts";
import { defineShiftMethod } from "../define.ts";
import type { GraphClassifier } from "../graph-classifier.ts";
import { consistency, meanConfidence, symmetricConsistency } from "../losses.ts";
import { meanOf } from "../mean-of.ts";
import { optimizerFeeds, placeOptimizerStep, prefixed, stateValuesOf } from "../optimizer-step.ts";
import { predicted } from "../predicted.ts";
import { restoreMask } from "../restore-mask.ts";
import { statePart } from "../state-part.ts";
import { trainableWeights } from "../trainable-weights.ts";
import type { CottaFunctions, CottaState } from "../trained.ts";
import type { Workbench } from "../workbench.ts";

const options = {
  learningRate: nonNegative(1e-3, "rate of the optimizer"),
  augmentations: integer(32, "augmented copies whose logits the teacher averages", { min: 1 }),
  confidenceThreshold: unitInterval(0.92, "the teacher averages where the source model's mean confidence is below"),
  teacherDecay: unitInterval(0.999, "share of the teacher that stays at every step"),
  restoreProbability: unitInterval(0.01, "share of the student's weights set back to the source at every step"),
  loss: choice(
    ["cross-entropy", "symmetric"],
    "cross-entropy",
    "between teacher and student; symmetric: of both directions",
  ),
  steps: integer(1, "updates for each batch", { min: 1 }),
  episodic: boolean(false, "starts over for every batch"),
  seed: integer(0, "of augmentations and of what is restored"),
  ...statisticsOptions,
};

type Options = OptionValues<typeof options> & CottaFunctions;

/**
 * CoTTA: a student learns from a teacher, its own moving average, without forgetting the source model. Each batch:
 * t = the teacher's logits, averaged over augmented copies where the source model is unsure; one optimizer step on
 * −Σ softmax(t) log softmax(student(x)); teacher ← a · teacher + (1 − a) · student; each weight of the student goes back
 * to the source's with probability p. t is the prediction.
 * Source: Wang et al. 2022, arXiv:2203.13591. Differs: augmented copies are computed only where they are used; Dropout
 * is left out; randomness is a function of (seed, updates so far).
 */
export const cotta = defineShiftMethod({
  name: "cotta",
  source: "arXiv:2203.13591",
  summary: "A student follows its averaged teacher over a changing stream; random weights return to the source model.",
  options,
  functions: ["augment", "optimizer", "trainable"],
  init: start,
  async predict(model, state, x, given) {
    const bench = await benchOf(model, given);
    return bench.use(state, async () => {
      const program = await teacherProgram(bench, model, state, x, given);
      return predicted((await program.run({ x })).logits);
    });
  },
  async update(model, state, x, given) {
    const from = given.episodic ? { ...(await start(model, given)), updates: state.updates } : state;
    const bench = await benchOf(model, given);
    return bench.use(from, async () => {
      let updates = from.updates;
      let prediction = { probabilities: x };
      for (let step = 0; step < given.steps; step++) {
        prediction = await learn(bench, model, from, x, given, updates++);
      }
      return { state: await bench.advance<CottaState>({ updates }), prediction };
    });
  },
});

/** One update; `state` names the tensors, whose values are those in the runtime. */
async function learn(
  bench: Workbench,
  model: GraphClassifier,
  state: CottaState,
  x: Tensor,
  given: Options,
  done: number,
) {
  const random = createRandom(given.seed, `cotta/${done}`);
  const anchor = await anchorProgram(bench, model, state, x, given);
  const confidence = toFloat64((await anchor.run({ x })).confidence)[0];
  const teacher = await teacherProgram(bench, model, state, x, given);
  const averaged = confidence < given.confidenceThreshold;
  const target = averaged
    ? await averagedLogits(teacher, x, given, random.child("augment"))
    : (await teacher.run({ x })).logits;
  const student = statePart(state, "student/");
  const program = await studentProgram(bench, model, state, x, given);
  const { loss } = await program.run({
    x,
    target,
    ...optimizerFeeds(optimizerOf(given), done + 1, given.learningRate, student),
    ...restoreFeeds(student, given, random.child("restore")),
  });
  return predicted(target, { confidence, averaged: Number(averaged), loss: toFloat64(loss)[0] });
}

/** Mean of the teacher's logits over augmented copies, one after another: memory does not grow with their number. */
async function averagedLogits(teacher: Program, x: Tensor, given: Options, random: Random): Promise<Tensor> {
  const { augment = (each: Tensor) => each, augmentations } = given;
  return meanOf(augmentations, async (i) => {
    const copy = await augment(x, random.child(`${i}`));
    return (await teacher.run({ x: copy })).logits;
  });
}

async function start(model: GraphClassifier, given: Options): Promise<CottaState> {
  checkAugment(given);
  const source = await model.read(trainableWeights(model, given.trainable));
  const moments = optimizerOf(given).init(source);
  return {
    ...prefixed("student/", source),
    ...prefixed("teacher/", source),
    ...prefixed("optimizer/", moments),
    updates: 0,
  };
}

const optimizerOf = ({ optimizer = adam() }: CottaFunctions): Optimizer => optimizer;

function checkAugment({ augment, confidenceThreshold }: Options): void {
  if (augment !== undefined || confidenceThreshold === 0) return;
  throw invalidOption(
    { option: "cotta.augment" },
    augment,
    "a function that changes a batch",
    "Without it student and teacher agree and nothing is learnt: `bnAdapt` does the same for less.",
  );
}

function benchOf(model: GraphClassifier, given: Options): Promise<Workbench> {
  return model.benches.get(given, async () => {
    const first = await start(model, given);
    return { start: first, fixed: prefixed("source/", statePart(first, "student/")) };
  });
}

function anchorProgram(bench: Workbench, model: GraphClassifier, state: CottaState, x: Tensor, given: Options) {
  return bench.program(`anchor ${x.dtype} ${x.shape}`, () => {
    const batch = model.inputLike(x);
    const parameters = stateValuesOf("source/", statePart(state, "student/"));
    const { logits } = model.forward(batch, { ...given, parameters });
    return { inputs: { x: batch }, outputs: { confidence: meanConfidence(logits) } };
  });
}

function teacherProgram(bench: Workbench, model: GraphClassifier, state: CottaState, x: Tensor, given: Options) {
  return bench.program(`teacher ${x.dtype} ${x.shape}`, () => {
    const batch = model.inputLike(x);
    const parameters = stateValuesOf("teacher/", statePart(state, "teacher/"));
    return { inputs: { x: batch }, outputs: { logits: model.forward(batch, { ...given, parameters }).logits } };
  });
}

function studentProgram(bench: Workbench, model: GraphClassifier, state: CottaState, x: Tensor, given: Options) {
  return bench.program(`student ${x.dtype} ${x.shape}`, () => {
    const batch = model.inputLike(x);
    const tensors = statePart(state, "student/");
    const names = Object.keys(tensors);
    const between = given.loss === "symmetric" ? symmetricConsistency : consistency;
    const student = stateValuesOf("student/", tensors);
    const logitsAt = (parameters: Readonly<Record<string, Value>>) =>
      model.forward(batch, { ...given, parameters }).logits;
    const target = input("target", logitsAt(student).dtype, logitsAt(student).shape);
    const step = placeOptimizerStep({
      optimizer: optimizerOf(given),
      parameters: student,
      state: stateValuesOf("optimizer/", statePart(state, "optimizer/")),
      tensors,
      loss: (parameters) => between(logitsAt(parameters), target),
    });
    const teacher = stateValuesOf("teacher/", tensors);
    const source = stateValuesOf("source/", tensors);
    const next: Record<string, Value> = {};
    const masks = [];
    for (const name of names) {
      const learnt = step.parameters[name];
      // The teacher sees the student as it was learnt, before anything of it is restored.
      next[`teacher/${name}`] = add(mul(teacher[name], given.teacherDecay), mul(learnt, 1 - given.teacherDecay));
      next[`student/${name}`] = learnt;
      if (given.restoreProbability === 0) continue;
      const mask = input(`restore/${name}`, "float32", tensors[name].shape);
      masks.push(mask);
      next[`student/${name}`] = where(greater(mask, 0), source[name], learnt);
    }
    return {
      name: "cotta",
      inputs: [batch, target, ...step.inputs, ...masks],
      outputs: { loss: step.loss },
      update: { ...next, ...prefixed("optimizer/", step.state) },
    };
  });
}

function restoreFeeds(
  student: Readonly<Record<string, Tensor>>,
  { restoreProbability }: Options,
  random: Random,
): Record<string, Tensor> {
  if (restoreProbability === 0) return {};
  return Object.fromEntries(
    Object.entries(student).map(([name, { shape }]) => [
      `restore/${name}`,
      restoreMask(shape, restoreProbability, random.child(name)),
    ]),
  );
}
