import type { Checkpoint } from "@loomweight/checkpoint";
import { broadcast, LoomweightError, scalar, type Tensor } from "@loomweight/tensor";
import type { Program, Runtime, State } from "../runtime/runtime.ts";
import type { LazyTensor } from "../value.ts";
import { type BatchSource, batchReader, shapeKey, typesOf } from "./batches.ts";
import { checkOptions } from "./check-options.ts";
import { createEvaluator, type Evaluation } from "./evaluation.ts";
import type { Batch, Loss, Types } from "./loss.ts";
import { findNonFinite } from "./non-finite.ts";
import type { Optimizer } from "./optimizer.ts";
import { accumulators, prepareState } from "./prepare-state.ts";
import { progressLine } from "./progress.ts";
import { drawInputs } from "./random-inputs.ts";
import { packTraining, type SavedProgress, trainingMetadata, unpackTraining } from "./save.ts";
import {
  averagePrefix,
  buildStep,
  type ClipOptions,
  optimizerInputName,
  optimizerPrefix,
  type StepGraph,
  scalarName,
} from "./step-graph.ts";

export interface TrainOptions {
  readonly runtime: Runtime;
  /** Weights by their names in the checkpoint. Trainable ones are held in float32. */
  readonly parameters: Readonly<Record<string, Tensor | LazyTensor>>;
  /** Which parameters change; default all. The others are frozen, and keep their dtype in memory. */
  readonly trainable?: RegExp | ((name: string) => boolean);
  /** Tensors that the loss reads and updates itself, by name: running statistics. */
  readonly buffers?: Readonly<Record<string, Tensor>>;
  readonly loss: Loss;
  readonly optimizer: Optimizer;
  readonly batches: BatchSource;
  /** A number, or a schedule of the number of steps done before: 0 at the first. Default 1e-3. */
  readonly learningRate?: number | ((step: number) => number);
  /** Stops after so many steps in all; default when the batches end. */
  readonly steps?: number;
  /** Batches whose gradients are averaged for one update; default 1. */
  readonly accumulate?: number;
  readonly clip?: ClipOptions;
  /** Keeps a moving average of the trainable parameters: average += (1 - decay) · (parameter - average). */
  readonly ema?: { readonly decay: number };
  /** Gives back the norm of the gradients even where nothing is clipped by it. Default false. */
  readonly watchNorm?: boolean;
  /** Measured on the same state: every so many steps, and whenever `evaluate` is called. */
  readonly evaluation?: Evaluation;
  /** Keys all randomness of the training. Default 0. */
  readonly seed?: number;
  /** What `save` gave: goes on at the next step, bit for bit. */
  readonly resume?: Uint8Array | Checkpoint;
  /** Takes a line of progress after each step. */
  readonly progress?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** What is known after a step. */
export interface StepMetrics {
  /** Counts from 1. */
  readonly step: number;
  /** Mean over the batches of the step, before the update. */
  readonly loss: number;
  readonly learningRate: number;
  /** Before clipping by it. */
  readonly gradientNorm?: number;
  /** The loss's own metrics, means over the batches of the step. */
  readonly metrics: Readonly<Record<string, number>>;
  /** Where an evaluation was due. */
  readonly evaluation?: Readonly<Record<string, number>>;
  readonly milliseconds: number;
}

/**
 * A training under way. Iterating over it does one step at a time; leaving the loop pauses it, another loop goes on.
 */
export interface Training extends AsyncIterable<StepMetrics> {
  /** Steps done. */
  readonly step: number;
  /** Parameters, buffers and the optimizer's tensors, to compile other programs over. */
  readonly state: State;
  /** Goes on to the end; the metrics of the last step done. */
  finish(): Promise<StepMetrics | undefined>;
  /** The trained parameters and buffers; `average`: their moving average, or what the optimizer itself averages. */
  parameters(options?: { readonly average?: boolean }): Promise<Record<string, Tensor>>;
  /** Means of the evaluation's metrics, now. */
  evaluate(): Promise<Readonly<Record<string, number>>>;
  /** Everything that the next step depends on, as a safetensors file. */
  save(): Promise<Uint8Array<ArrayBuffer>>;
  /** The same as tensors and metadata, for writers of files. */
  snapshot(): Promise<{ tensors: Map<string, Tensor>; metadata: Record<string, string> }>;
  /** Frees state and programs; the runtime stays open. */
  close(): Promise<void>;
}

/** A step's graph, loaded. */
interface LoadedStep {
  readonly graph: StepGraph;
  readonly program: Program;
}

/** One batch and everything else that its run is fed. */
interface PreparedRun extends LoadedStep {
  readonly feeds: Record<string, Tensor>;
}

/**
 * Trains parameters by an optimizer on batches. Nothing happens before the first iteration but reading and, where
 * asked for, resuming. A step that is not finite is undone and ends in `NON_FINITE` naming the first bad value; the
 * training can be saved or evaluated then. Throws `INVALID_OPTION`, `INVALID_LOSS`, `NO_GRADIENT`, `RESUME_MISMATCH`,
 * `ABORTED` between steps, and what the runtime throws.
 */
export async function train(options: TrainOptions): Promise<Training> {
  const { runtime, optimizer, accumulate = 1, seed = 0, signal } = options;
  checkOptions(options);
  const rate = options.learningRate ?? 1e-3;
  // Schedules count the steps done before, as those of optim and of PyTorch do.
  const learningRate = typeof rate === "number" ? () => rate : (step: number) => rate(step - 1);
  const { design, initial, saved } = await prepareState(options, learningRate(1));
  let progress: SavedProgress = { step: 0, batches: 0, seed, optimizer: optimizer.name };
  if (options.resume !== undefined) {
    const wanted = new Map(saved.map((name) => [name, initial[name] as Tensor])); // only frozen ones are lazy
    const resumed = await unpackTraining(options.resume, wanted, { seed, optimizer: optimizer.name });
    Object.assign(initial, resumed.tensors);
    progress = resumed.progress;
  }
  const state = await runtime.state(initial);
  const evaluator = options.evaluation && createEvaluator(runtime, state, design, options.evaluation);
  const reader = batchReader(options.batches, progress.batches);
  const loaded = new Map<string, Promise<LoadedStep>>();
  let pending: Promise<readonly PreparedRun[] | undefined> | undefined;
  let last: StepMetrics | undefined;

  const load = (types: Types, kind: "accumulate" | "update"): Promise<LoadedStep> => {
    const key = `${kind}: ${shapeKey(types)}`;
    let found = loaded.get(key);
    if (found === undefined) {
      const graph = buildStep(design, types, kind);
      found = runtime.compile(graph.program, state).then((program) => ({ graph, program }));
      loaded.set(key, found);
    }
    return found;
  };

  /** The runs of one step; undefined where the batches end before it is complete. */
  const prepare = async (step: number): Promise<readonly PreparedRun[] | undefined> => {
    if (options.steps !== undefined && step > options.steps) return undefined;
    const runs: PreparedRun[] = [];
    for (let index = 0; index < accumulate; index++) {
      const batch = await reader.next();
      if (batch === undefined) return undefined;
      const step_ = await load(typesOf(batch), index === accumulate - 1 ? "update" : "accumulate");
      runs.push({ ...step_, feeds: feedsOf(batch, step_.graph, step, index) });
    }
    return runs;
  };

  const feedsOf = (batch: Batch, graph: StepGraph, step: number, index: number): Record<string, Tensor> => {
    const feeds = { ...batch, ...drawInputs(graph.random, seed, accumulate === 1 ? step : `${step}.${index}`) };
    if (!graph.feedsOptimizer) return feeds;
    const scalars = optimizer.scalars(step, learningRate(step));
    for (const name of graph.scalars) feeds[scalarName(name)] = float32Scalar(scalars[name]);
    return { ...feeds, ...optimizerFeeds(step) };
  };

  const optimizerFeeds = (step: number): Record<string, Tensor> => {
    const feeds: Record<string, Tensor> = {};
    for (const [name, tensor] of Object.entries(optimizer.inputs?.(step, shapes) ?? {})) {
      feeds[optimizerInputName(name)] = tensor;
    }
    return feeds;
  };

  /** The optimizer's own inputs depend on names and shapes alone: stand-ins of one element keep no weights in memory. */
  const shapes = Object.fromEntries(
    Object.entries(design.trainable).map(([name, { shape }]) => [name, broadcast(scalar(0), shape)]),
  );

  const execute = async (runs: readonly PreparedRun[], step: number): Promise<Record<string, number>> => {
    const sums: Record<string, number> = {};
    for (const { graph, program, feeds } of runs) {
      const results = await program.run(feeds);
      for (const [name, { data }] of Object.entries(results)) sums[name] = (sums[name] ?? 0) + Number(data[0]);
      if (Number.isFinite(sums.loss) && Number.isFinite(sums.gradientNorm ?? 0)) continue;
      await state.undo();
      const fault = await findNonFinite(runtime, state, graph, feeds, step);
      await state.write(accumulators(design));
      throw fault;
    }
    return sums;
  };

  const next = async (): Promise<StepMetrics | undefined> => {
    const step = progress.step + 1;
    if (signal?.aborted) {
      throw new LoomweightError({
        code: "ABORTED",
        problem: `the training was stopped after step ${progress.step}`,
        cause: signal.reason,
      });
    }
    const runs = await (pending ?? prepare(step));
    pending = undefined;
    if (runs === undefined) return undefined;
    const began = performance.now();
    const running = execute(runs, step);
    // The next batch is read and its masks drawn while this one is computed.
    pending = prepare(step + 1);
    pending.catch(() => {}); // told when it is waited for
    const sums = await running.catch((cause: unknown) => {
      pending = Promise.reject(cause);
      pending.catch(() => {});
      throw cause;
    });
    progress = { ...progress, step, batches: progress.batches + runs.length };
    const due = options.evaluation?.every !== undefined && step % options.evaluation.every === 0;
    const evaluation = due ? await training.evaluate() : undefined;
    last = metricsOf(sums, runs.length, {
      step,
      learningRate: learningRate(step),
      milliseconds: performance.now() - began,
    });
    if (evaluation !== undefined) last = { ...last, evaluation };
    options.progress?.(progressLine(last, options.steps));
    return last;
  };

  const snapshot = async () => {
    const tensors = new Map(Object.entries(await state.read(saved)));
    return { tensors, metadata: trainingMetadata(progress) };
  };

  /** What the optimizer itself keeps an average of. */
  const averagedParameters = async (names: readonly string[]): Promise<Record<string, Tensor>> => {
    if (optimizer.averaged === undefined) throw noAverage();
    const own = Object.keys(design.optimizerState);
    const read = await state.read([
      ...names,
      ...own.map((name) => `${optimizerPrefix}${name}`),
      ...Object.keys(design.buffers),
    ]);
    const pick = (wanted: readonly string[], prefix = "") =>
      Object.fromEntries(wanted.map((name) => [name, read[`${prefix}${name}`]]));
    const call = { parameters: pick(names), state: pick(own, optimizerPrefix) };
    return { ...(optimizer.averaged(call) as Record<string, Tensor>), ...pick(Object.keys(design.buffers)) };
  };

  const training: Training = {
    get step() {
      return progress.step;
    },
    state,
    [Symbol.asyncIterator]: () => ({
      async next() {
        const value = await next();
        return value === undefined ? { done: true, value } : { done: false, value };
      },
    }),
    async finish() {
      for (let metrics = await next(); metrics !== undefined; ) metrics = await next();
      return last;
    },
    async parameters({ average = false } = {}) {
      const names = Object.keys(design.trainable);
      if (average && options.ema === undefined) return averagedParameters(names);
      const read = await state.read([
        ...names.map((name) => (average ? `${averagePrefix}${name}` : name)),
        ...Object.keys(design.buffers),
      ]);
      return Object.fromEntries(
        Object.entries(read).map(([name, each]) => [average ? withoutPrefix(name, averagePrefix) : name, each]),
      );
    },
    async evaluate() {
      if (evaluator === undefined) throw noEvaluation();
      return evaluator.evaluate();
    },
    async save() {
      const { tensors } = await snapshot();
      return packTraining(tensors, progress);
    },
    snapshot,
    async close() {
      await pending?.catch(() => {});
      await reader.close();
      for (const each of loaded.values()) await (await each.catch(() => undefined))?.program.close();
      await evaluator?.close();
      await state.close();
    },
  };
  return training;
}

function metricsOf(
  sums: Readonly<Record<string, number>>,
  count: number,
  known: Pick<StepMetrics, "step" | "learningRate" | "milliseconds">,
): StepMetrics {
  const metrics: Record<string, number> = {};
  for (const [name, sum] of Object.entries(sums)) {
    if (name.startsWith("metric/")) metrics[withoutPrefix(name, "metric/")] = sum / count;
  }
  const norm = sums.gradientNorm; // given back once a step, by the update
  return { ...known, loss: sums.loss / count, ...(norm !== undefined && { gradientNorm: norm }), metrics };
}

function float32Scalar(value: number): Tensor {
  return { dtype: "float32", data: Float32Array.of(value), shape: [], stride: [], offset: 0 };
}

function withoutPrefix(name: string, prefix: string): string {
  return name.startsWith(prefix) ? name.slice(prefix.length) : name;
}

function noAverage(): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    option: "average",
    problem: "the training keeps no moving average",
    fix: "Pass `ema: { decay: 0.999 }` to train, or an optimizer that keeps one.",
  });
}

function noEvaluation(): LoomweightError {
  return new LoomweightError({
    code: "INVALID_OPTION",
    option: "evaluation",
    problem: "the training was not told how to evaluate",
    fix: "Pass `evaluation: { batches, metrics }` to train.",
  });
}
