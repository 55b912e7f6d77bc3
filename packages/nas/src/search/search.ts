import { input, type Program, stateValue, type Value } from "@loomweight/graph";
import { type Batch, drawInputs, type Optimizer, type RandomInput } from "@loomweight/graph/training";
import { adam, sgd } from "@loomweight/optim";
import { createRandom, fromFloat64, LoomweightError, scalar, type Tensor, toFloat64 } from "@loomweight/tensor";
import { extract } from "../entangle/extract.ts";
import type { Architecture } from "../space/choice.ts";
import { countArchitectures, largestShape, type Space } from "../space/space.ts";
import { type BatchStream, streamBatches } from "./batches.ts";
import { drawInputsOf, drawName, type ForwardDesign } from "./forward.ts";
import type { SearchOptions } from "./options.ts";
import { createProgramCache } from "./program-cache.ts";
import { secondOrderStep } from "./second-order.ts";
import { architectureStep, type StepValues, weightStep } from "./steps.ts";
import type { SearchSnapshot, SearchTask } from "./task.ts";

/** What is known after a step. */
export interface SearchStep {
  /** Counts from 1. */
  readonly step: number;
  /** Counts from 0. */
  readonly epoch: number;
  /** Of the batch of weights, before the update. */
  readonly loss: number;
  /** Before clipping. */
  readonly gradientNorm: number;
  /** Of the architecture's batch without the cost; absent where alpha is not learned. */
  readonly architectureLoss?: number;
  /** Where there is a cost. */
  readonly expectedSize?: number;
}

/** A search under way. Iterating over it does one step at a time; leaving the loop pauses it, another loop goes on. */
export interface Search extends AsyncIterable<SearchStep> {
  readonly space: Space;
  /** Steps done. */
  readonly step: number;
  /** Goes on to the end; the last step done. */
  finish(): Promise<SearchStep | undefined>;
  /** Mean probabilities of the choices, by decision. */
  probabilities(): Promise<Record<string, number[]>>;
  /** The most probable choice of every decision: the first of equals. */
  architecture(): Promise<Architecture>;
  /** Weights of the largest network, or of `architecture`. */
  weights(architecture?: Architecture): Promise<Record<string, Tensor>>;
  /** Everything that the next step depends on, for `resume`. */
  snapshot(): Promise<SearchSnapshot>;
  /** Frees state and programs; the runtime stays open. */
  close(): Promise<void>;
}

const alphaPrefix = "alpha/";
const ofAlpha = "architecture optimizer/";
const ofWeights = "optimizer/";
const scalarName = (prefix: string, name: string) => `${prefix}scalar/${name}`;

type Tensors = Readonly<Record<string, Tensor>>;

/**
 * Two levels in turn: a batch of the architecture's split moves alpha at the present weights, then one of the weights'
 * split moves the weights, every forward pass with draws of its own. Throws `INVALID_OPTION`, `MISSING_TENSOR`,
 * `SHAPE_MISMATCH`, `RESUME_MISMATCH`, `INVALID_LOSS`, `NON_FINITE`, `NO_BATCHES`, `ABORTED`, and what the runtime throws.
 */
export async function startSearch(task: SearchTask, options: SearchOptions): Promise<Search> {
  const { runtime, space, sampler } = task;
  checkTask(task, options);
  const architectureOptimizer = task.architectureOptimizer ?? adam({ beta1: 0.5, beta2: 0.999, weightDecay: 1e-3 });
  const weightOptimizer = task.weightOptimizer ?? sgd({ momentum: 0.9, nesterov: true, weightDecay: 3e-4 });
  const rate = task.learningRate ?? 0.025;
  const learningRate = typeof rate === "number" ? () => rate : (step: number) => rate(step - 1);
  const decisions = Object.values(space.decisions);
  const firstAlphas = Object.fromEntries(
    decisions.map(({ name, choices }) => {
      const values = new Float64Array(choices.length);
      createRandom(options.seed, "alpha").child(name).normalsInto(values, { deviation: options.alphaDeviation });
      return [name, fromFloat64(values, [choices.length], "float32")];
    }),
  );
  const initial: Record<string, Tensor> = {
    ...task.weights,
    ...prefixed(firstAlphas, alphaPrefix),
    ...prefixed(architectureOptimizer.init(firstAlphas), ofAlpha),
    ...prefixed(weightOptimizer.init(task.weights), ofWeights),
  };
  if (task.resume !== undefined) takeUp(initial, task.resume);
  let done = task.resume?.step ?? 0;
  const state = await runtime.state(initial);
  const design: ForwardDesign = { ...task };
  const slices =
    sampler.hard && (options.compute === "slice" || (options.compute === "auto" && countArchitectures(space) <= 64));
  const programs = createProgramCache<Built>(64, ({ program }) => program.close());
  const streams: Readonly<Record<Part, BatchStream>> = {
    architecture: streamBatches(task.batches.architecture, done, "architecture"),
    weights: streamBatches(task.batches.weights, done, "weights"),
  };

  /** Values of the state's tensors under a prefix, by their names without it. */
  const stateValues = (tensors: Tensors, prefix = ""): Record<string, Value> =>
    Object.fromEntries(
      Object.entries(tensors).map(([name, { dtype, shape }]) => [name, stateValue(`${prefix}${name}`, dtype, shape)]),
    );
  const scalarsOf = (optimizer: Optimizer, prefix: string): Record<string, Value> =>
    Object.fromEntries(
      Object.keys(optimizer.scalars(1, learningRate(1))).map((name) => [
        name,
        input(scalarName(prefix, name), "float32", []),
      ]),
    );
  const architectureState = stateValues(architectureOptimizer.init(firstAlphas), ofAlpha);
  const weightState = stateValues(weightOptimizer.init(task.weights), ofWeights);

  const build = async (part: Part, batches: readonly Batch[], architecture?: Architecture): Promise<Built> => {
    const [batch, later] = batches.map((each, i) => batchInputs(each, i === 0 ? "" : laterPrefix));
    const call = {
      weights: stateValues(task.weights),
      alphas: stateValues(firstAlphas, alphaPrefix),
      batch,
      draws: drawInputsOf(design, "float32"),
      ...(architecture !== undefined && { architecture }),
    };
    let made: StepValues;
    let update: Record<string, Value>;
    if (part === "weights") {
      const scalars = scalarsOf(weightOptimizer, ofWeights);
      made = weightStep({ ...design, clipNorm: options.clipNorm }, call, {
        optimizer: weightOptimizer,
        state: weightState,
        scalars,
      });
      update = { ...made.parameters, ...prefixed(made.state, ofWeights) };
    } else {
      const own = {
        optimizer: architectureOptimizer,
        state: architectureState,
        scalars: scalarsOf(architectureOptimizer, ofAlpha),
      };
      const costed = { ...design, ...(task.cost !== undefined && { cost: task.cost }) };
      made =
        later === undefined
          ? architectureStep(costed, call, own)
          : secondOrderStep(costed, { ...call, weightBatch: later }, own, {
              rate: input(rateName, "float32", []),
              momentum: options.unrolledMomentum,
              buffers: momentumBuffers(weightState),
              weightDecay: options.unrolledDecay,
            });
      update = { ...prefixed(made.parameters, alphaPrefix), ...prefixed(made.state, ofAlpha) };
    }
    const program = await runtime.compile({ name: part, outputs: made.outputs, update }, state);
    return { program, random: made.random };
  };

  /** One forward pass and update: draws from the present alpha, then the program of what was drawn. */
  const runPart = async (part: Part, step: number, batches: readonly Batch[]): Promise<Record<string, number>> => {
    const feeds: Record<string, Tensor> = { ...batches[0] };
    for (const [name, each] of Object.entries(batches[1] ?? {})) feeds[`${laterPrefix}${name}`] = each;
    const architecture: Record<string, number> = {};
    if (sampler.inputs.length > 0) {
      const alphas = await state.read(decisions.map(({ name }) => `${alphaPrefix}${name}`));
      const random = createRandom(options.seed, `search step ${step} ${part}`);
      const progress = { epoch: Math.floor((step - 1) / options.stepsPerEpoch), epochs: options.epochs };
      for (const { name, choices } of decisions) {
        const drawn = sampler.draw([...toFloat64(alphas[`${alphaPrefix}${name}`])], random.child(name), progress);
        for (const [key, values] of Object.entries(drawn.inputs))
          feeds[drawName(name, key)] = fromFloat64(Float64Array.from(values), [choices.length], "float32");
        if (slices && drawn.index !== undefined) architecture[name] = choices[drawn.index];
      }
    }
    const chosen = slices ? architecture : undefined;
    const key = `${part} ${JSON.stringify(chosen ?? {})} ${batches.map(batchKey).join(" and ")}`;
    const { program, random } = await programs.get(key, () => build(part, batches, chosen));
    Object.assign(feeds, drawInputs(random, options.seed, `${step} ${part}`));
    const [optimizer, prefix, ownRate] =
      part === "weights"
        ? [weightOptimizer, ofWeights, learningRate(step)]
        : [architectureOptimizer, ofAlpha, options.architectureRate];
    for (const [name, value] of Object.entries(optimizer.scalars(step, ownRate)))
      feeds[scalarName(prefix, name)] = scalar(value);
    if (options.secondOrder && part === "architecture") feeds[rateName] = scalar(learningRate(step));
    // An optimizer may have numbers that a program does not use.
    const wanted = new Set(program.inputs.map(({ name }) => name));
    const results = await program.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => wanted.has(name))));
    return Object.fromEntries(Object.entries(results).map(([name, { data }]) => [name, Number(data[0])]));
  };

  const next = async (): Promise<SearchStep | undefined> => {
    if (done >= options.epochs * options.stepsPerEpoch) return undefined;
    const step = done + 1;
    if (task.signal?.aborted) {
      throw new LoomweightError({
        code: "ABORTED",
        problem: `the search was stopped after step ${done}`,
        cause: task.signal.reason,
      });
    }
    const weightBatch = await streams.weights.next();
    const found: Record<string, number> = {};
    // A sampler that does not learn has no use for these batches: they are not read.
    if (sampler.trains) {
      const batch = await streams.architecture.next();
      Object.assign(found, await runPart("architecture", step, options.secondOrder ? [batch, weightBatch] : [batch]));
      checkFinite(found, step);
    }
    Object.assign(found, await runPart("weights", step, [weightBatch]));
    checkFinite(found, step);
    done = step;
    return { step, epoch: Math.floor((step - 1) / options.stepsPerEpoch), ...found } as unknown as SearchStep;
  };

  const search: Search = {
    space,
    get step() {
      return done;
    },
    [Symbol.asyncIterator]: () => ({
      async next() {
        const value = await next();
        return value === undefined ? { done: true, value } : { done: false, value };
      },
    }),
    async finish() {
      let last: SearchStep | undefined;
      for (let step = await next(); step !== undefined; step = await next()) last = step;
      return last;
    },
    async probabilities() {
      const read = await state.read(decisions.map(({ name }) => `${alphaPrefix}${name}`));
      return Object.fromEntries(
        decisions.map(({ name }) => [name, sampler.mean([...toFloat64(read[`${alphaPrefix}${name}`])])]),
      );
    },
    async architecture() {
      if (!sampler.trains) throw noChoice(sampler.name);
      const probabilities = await search.probabilities();
      return Object.fromEntries(
        decisions.map(({ name, choices }) => {
          const p = probabilities[name];
          return [name, choices[p.indexOf(Math.max(...p))]];
        }),
      );
    },
    async weights(architecture) {
      const whole = await state.read(Object.keys(task.weights));
      return architecture === undefined ? whole : extract(space, whole, architecture);
    },
    async snapshot() {
      return { step: done, tensors: await state.read() };
    },
    async close() {
      for (const stream of Object.values(streams)) await stream.close();
      await programs.close();
      await state.close();
    },
  };
  return search;
}

type Part = "architecture" | "weights";

interface Built {
  readonly program: Program;
  readonly random: ReadonlyMap<string, RandomInput>;
}

/** Inputs of the batch of weights that a step of second order sees beside the architecture's. */
const laterPrefix = "weights/";
const rateName = "rate of the weights";

const prefixed = <T>(values: Readonly<Record<string, T>>, prefix: string): Record<string, T> =>
  Object.fromEntries(Object.entries(values).map(([name, each]) => [`${prefix}${name}`, each]));

const batchInputs = (batch: Batch, prefix: string): Record<string, Value> =>
  Object.fromEntries(
    Object.entries(batch).map(([name, { dtype, shape }]) => [name, input(`${prefix}${name}`, dtype, shape)]),
  );

const batchKey = (batch: Batch): string =>
  Object.entries(batch)
    .map(([name, { dtype, shape }]) => `${name} ${dtype} [${shape}]`)
    .join("; ");

function momentumBuffers(state: Readonly<Record<string, Value>>): Record<string, Value> {
  const slot = "momentum_buffer/";
  return Object.fromEntries(
    Object.entries(state).flatMap(([name, value]) => (name.startsWith(slot) ? [[name.slice(slot.length), value]] : [])),
  );
}

function takeUp(initial: Record<string, Tensor>, { tensors }: SearchSnapshot): void {
  for (const [name, { dtype, shape }] of Object.entries(initial)) {
    const saved = tensors[name];
    if (saved === undefined || saved.dtype !== dtype || `${saved.shape}` !== `${shape}`) {
      throw new LoomweightError({
        code: "RESUME_MISMATCH",
        problem: "the snapshot is of another search",
        tensor: name,
        expected: `${dtype} [${shape}]`,
        found: saved === undefined ? "nothing" : `${saved.dtype} [${saved.shape}]`,
        fix: "Resume with the space, sampler and optimizers that it was taken with.",
      });
    }
    initial[name] = saved;
  }
}

function checkTask({ space, weights, sampler, cost }: SearchTask, options: SearchOptions): void {
  for (const [name, spec] of Object.entries(space.parameters)) {
    const shape = largestShape(spec);
    const found = weights[name];
    if (found !== undefined && `${found.shape}` === `${shape}` && found.dtype === "float32") continue;
    throw new LoomweightError({
      code: found === undefined ? "MISSING_TENSOR" : "SHAPE_MISMATCH",
      problem: "the first weights do not fit the space",
      tensor: name,
      expected: `float32 [${shape}], the largest network's`,
      found: found === undefined ? "nothing" : `${found.dtype} [${found.shape}]`,
    });
  }
  const invalid = (option: string, problem: string, expected: string, found: string) => {
    throw new LoomweightError({ code: "INVALID_OPTION", option, problem, expected, found });
  };
  if (Object.keys(space.decisions).length === 0)
    invalid("space", "nothing is to be decided", "one decision or more", "none");
  if (sampler.name === "gdas" && options.epochs < 2)
    invalid("epochs", "the temperature falls from one epoch to the next", "2 epochs or more with gdas", "1");
  if (options.secondOrder && (sampler.hard || sampler.inputs.length > 0))
    invalid("secondOrder", "draws differ from pass to pass", "a sampler without noise, such as darts", sampler.name);
  if (cost === undefined) return;
  if (!(cost.target > 0 && Number.isFinite(cost.target)))
    invalid("cost.target", "no size", "above 0", `${cost.target}`);
  if (!(cost.weight >= 0 && Number.isFinite(cost.weight)))
    invalid("cost.weight", "no weight", "0 or above", `${cost.weight}`);
}

function checkFinite(found: Readonly<Record<string, number>>, step: number): void {
  for (const [name, value] of Object.entries(found)) {
    if (Number.isFinite(value)) continue;
    throw new LoomweightError({
      code: "NON_FINITE",
      problem: `step ${step}: ${name} is ${value}`,
      fix: "Lower the learning rates, or look at the loss of the first batch.",
    });
  }
}

function noChoice(sampler: string): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    option: "sampler",
    problem: `${sampler} learns no architecture`,
    fix: "Search the trained weights: `bestArchitecture`.",
  });
}
