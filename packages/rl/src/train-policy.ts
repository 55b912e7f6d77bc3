import type { LazyTensor, Program, Runtime, State } from "@loomweight/graph";
import { type Batch, type Optimizer, type Training, train } from "@loomweight/graph/training";
import { cast, LoomweightError, type Tensor, toFloat64 } from "@loomweight/tensor";
import type { AdvantageEstimator, AdvantageOptions } from "./advantages.ts";
import type { BoundWeighting, Mixture, Objectives, WeightingState } from "./define.ts";
import { mixedAdvantages, objectiveAdvantages } from "./mix-rewards.ts";
import { type GramOptions, objectiveGram } from "./objective-gram.ts";
import {
  batchLoss,
  inputPrefix,
  inputsLike,
  type KlOptions,
  logProbabilities,
  objectiveLosses,
  type Policy,
  type PolicyGraph,
  referencePrefix,
  stateParameters,
} from "./policy-graph.ts";
import type { PolicyLossOptions } from "./policy-loss.ts";
import { checkRollout, type Rollout } from "./rollout.ts";

/** Logits [N, T, actions] of the present policy for its inputs. */
export type Act = (inputs: Batch) => Promise<Tensor>;

export interface TrainPolicyOptions<S extends WeightingState> {
  readonly runtime: Runtime;
  readonly parameters: Readonly<Record<string, Tensor | LazyTensor>>;
  /** Which parameters change; default all. */
  readonly trainable?: (name: string) => boolean;
  readonly policy: Policy;
  /** Responses of the present policy for step `step` (from 1). Draw by the step's number and a training can be resumed. */
  readonly rollout: (act: Act, step: number) => Promise<Rollout>;
  /** Validation metrics [K] of the present policy. */
  readonly validate?: (act: Act) => Promise<readonly number[]>;
  readonly weighting: BoundWeighting<S>;
  /** Initial weights and directions; `reference` defaults to the metrics of the untrained policy. */
  readonly objectives: Objectives;
  readonly estimator: AdvantageEstimator;
  /** Discount for "reinforce++"; default 1. */
  readonly gamma?: number;
  readonly loss?: PolicyLossOptions;
  readonly kl?: KlOptions;
  /** How the objectives' gradients are compared; `maxNorm` is 1 by default. */
  readonly gradients?: GramOptions;
  readonly optimizer: Optimizer;
  /** A number, or a schedule of the number of steps done before. */
  readonly learningRate: number | ((step: number) => number);
  readonly steps: number;
  /** Updates on each rollout; default 1. From the second on the loss's ratio differs from 1. */
  readonly updates?: number;
  /** Steps from one validation to the next; default 1. */
  readonly validateEvery?: number;
  readonly seed?: number;
  readonly resume?: SavedPolicy<S>;
  readonly signal?: AbortSignal;
}

/** What is known after a step. */
export interface PolicyStep<S extends WeightingState = WeightingState> {
  /** Counts rollouts, from 1. */
  readonly step: number;
  readonly loss: number;
  /** Mean of each objective's reward over the rollout. */
  readonly rewards: readonly number[];
  readonly mixture: Mixture;
  /** The weighting's state that the mixture came from. */
  readonly weighting: S;
  /** Validation of the policy before this step, where one was due. */
  readonly validation?: readonly number[];
  /** Clip fractions and distances of the last update. */
  readonly metrics: Readonly<Record<string, number>>;
}

/** Everything that the next step depends on. */
export interface SavedPolicy<S extends WeightingState = WeightingState> {
  readonly training: Uint8Array<ArrayBuffer>;
  readonly weighting: S;
}

export interface PolicyTraining<S extends WeightingState = WeightingState> extends AsyncIterable<PolicyStep<S>> {
  /** The trained parameters. */
  parameters(): Promise<Record<string, Tensor>>;
  /** Logits of the present policy. */
  readonly act: Act;
  save(): Promise<SavedPolicy<S>>;
  close(): Promise<void>;
}

/**
 * Trains a policy by policy gradients on several rewards at once, all of it through the runtime: rollouts are the
 * caller's, advantages and weights are computed here, loss, gradients and update are one graph. What the weighting needs
 * is measured: validations before the step, inner products of the objectives' gradients (one forward pass, K backward).
 * Throws `SHAPE_MISMATCH`, `NON_FINITE`, `INVALID_OPTION`, `MISSING_OPTION`, and what `train` throws.
 */
export async function trainPolicy<S extends WeightingState>(
  options: TrainPolicyOptions<S>,
): Promise<PolicyTraining<S>> {
  const { runtime, weighting, estimator, gamma, updates = 1, validateEvery = 1, trainable = () => true } = options;
  const objectives = options.objectives.weights.length;
  const graph: PolicyGraph = { policy: options.policy, loss: options.loss ?? {}, kl: options.kl };
  const validates = weighting.needs.includes("validation");
  const { validate } = options;
  if (validates && validate === undefined) throw noValidation(weighting.name);
  const rate = (step: number) =>
    typeof options.learningRate === "number" ? options.learningRate : options.learningRate(step - 1);

  const names = Object.keys(options.parameters);
  const compared = options.kl === undefined ? [] : names.filter(trainable);
  const references = compared.map((name) => [`${referencePrefix}${name}`, options.parameters[name]] as const);
  const programs = new Map<string, Promise<Program>>();
  const compiled = (kind: string, batch: Batch, build: () => Promise<Program>): Promise<Program> => {
    const key = `${kind}: ${Object.entries(batch).map(([name, { dtype, shape }]) => `${name} ${dtype} ${shape}`)}`;
    const found = programs.get(key) ?? build();
    programs.set(key, found);
    return found;
  };
  const programOver = (
    kind: string,
    batch: Batch,
    output: (
      parameters: ReturnType<typeof stateParameters>,
      inputs: ReturnType<typeof inputsLike>,
    ) => ReturnType<Policy>,
  ) =>
    compiled(kind, batch, () => {
      const inputs = inputsLike(batch);
      const parameters = stateParameters(state(), [...names, ...references.map(([name]) => name)]);
      return runtime.compile({ name: kind, inputs, outputs: { result: output(parameters, inputs) } }, state());
    });
  const act: Act = async (inputs) => {
    const program = await programOver("act", inputs, (parameters, values) => {
      const own = Object.fromEntries(names.map((name) => [name, parameters[name]]));
      return options.policy(own, values);
    });
    return (await program.run(inputs)).result;
  };

  // Steps whose batches were made; the optimizer is at most one behind the last.
  const made = new Map<number, Omit<PolicyStep<S>, "loss" | "metrics">>();
  let latest = options.resume?.weighting;

  const prepare = async (step: number): Promise<Batch> => {
    const due = validate !== undefined && (step - 1) % validateEvery === 0;
    const validation = due ? await validate(act) : undefined;
    let weights =
      latest ?? weighting.init({ ...options.objectives, reference: options.objectives.reference ?? validation });
    // The untrained policy is what later ones are compared with.
    if (validates && validation !== undefined && step > 1) {
      weights = weighting.observe(weights, { metrics: validation, learningRate: rate(step) });
    }
    const rollout = checkRollout(await options.rollout(act, step), objectives);
    const advantage: AdvantageOptions = { estimator, gamma, group: rollout.group, mask: rollout.mask };
    const batch: Record<string, Tensor> = { actions: rollout.actions, mask: rollout.mask };
    for (const [name, tensor] of Object.entries(rollout.inputs)) batch[`${inputPrefix}${name}`] = tensor;
    if (weighting.needs.includes("gradients")) {
      const gram = await gramOf(batch, rollout.rewards, advantage);
      weights = weighting.observe(weights, { gram, learningRate: rate(step) });
    }
    const mixture = weighting.mix(weights);
    if (updates > 1) {
      const program = await programOver("old", batch, (parameters, values) =>
        logProbabilities(options.policy, parameters, values),
      );
      batch.oldLogp = (await program.run(batch)).result;
    }
    batch.advantage = cast(mixedAdvantages(rollout.rewards, mixture, advantage), "float32");
    latest = weights;
    made.set(step, { step, rewards: means(rollout.rewards), mixture, weighting: weights, validation });
    return batch;
  };

  const gramOf = async (batch: Batch, rewards: Tensor, advantage: AdvantageOptions): Promise<Float64Array> => {
    const each = Object.fromEntries(
      objectiveAdvantages(rewards, advantage).map((tensor, k) => [`advantage/${k}`, cast(tensor, "float32") as Tensor]),
    );
    const fed: Batch = { ...batch, ...each };
    const program = await programOver("gram", fed, (parameters, values) => {
      const changing = Object.fromEntries(names.filter(trainable).map((name) => [name, parameters[name]]));
      const losses = objectiveLosses(
        graph,
        parameters,
        values,
        Object.keys(each).map((name) => values[name]),
      );
      return objectiveGram(losses, changing, { maxNorm: 1, ...options.gradients });
    });
    return toFloat64((await program.run(fed)).result);
  };

  const training: Training = await train({
    runtime,
    parameters: { ...options.parameters, ...Object.fromEntries(references) },
    trainable: (name) => !references.some(([reference]) => reference === name) && trainable(name),
    loss: (parameters, batch) => batchLoss(graph, parameters, batch),
    optimizer: options.optimizer,
    learningRate: (update) => rate(Math.floor(update / updates) + 1),
    steps: options.steps * updates,
    // The runtime keeps the order in which runs are asked for: what is computed here for the next step sees the update
    // of the step before it.
    async *batches(position) {
      for (let step = Math.floor(position / updates) + 1; step <= options.steps; step++) {
        const batch = await prepare(step);
        for (let i = 0; i < updates; i++) yield batch;
      }
    },
    seed: options.seed,
    signal: options.signal,
    resume: options.resume?.training,
  });
  function state(): State {
    return training.state;
  }

  let last: PolicyStep<S> | undefined;
  const next = async (): Promise<PolicyStep<S> | undefined> => {
    const iterator = training[Symbol.asyncIterator]();
    for (let i = 0; i < updates; i++) {
      const { value, done } = await iterator.next();
      if (done) return undefined;
      if (i < updates - 1) continue;
      const step = value.step / updates;
      last = { ...(made.get(step) as PolicyStep<S>), loss: value.loss, metrics: value.metrics };
      made.delete(step);
    }
    return last;
  };
  return {
    act,
    [Symbol.asyncIterator]: () => ({
      async next() {
        const value = await next();
        return value === undefined ? { done: true, value } : { done: false, value };
      },
    }),
    parameters: () => training.parameters(),
    async save() {
      if (last === undefined) throw nothingToSave();
      return { training: await training.save(), weighting: last.weighting };
    },
    async close() {
      await training.close();
      for (const each of programs.values()) await (await each.catch(() => undefined))?.close();
    },
  };
}

/** Means of the columns of [N, K]. */
function means(rewards: Tensor): number[] {
  const [rows, count] = rewards.shape;
  const values = toFloat64(rewards);
  return Array.from({ length: count }, (_, k) => {
    let sum = 0;
    for (let i = 0; i < rows; i++) sum += values[i * count + k];
    return sum / rows;
  });
}

function noValidation(name: string): LoomweightError {
  return new LoomweightError({
    code: "MISSING_OPTION",
    option: "validate",
    problem: `${name} follows the validation of the policy`,
    expected: "a function that measures the present policy",
    found: "nothing",
  });
}

function nothingToSave(): LoomweightError {
  return new LoomweightError({
    code: "NOTHING_TO_SAVE",
    problem: "no step of this training is done yet",
    fix: "Keep what you resumed from, or save after a step.",
  });
}
