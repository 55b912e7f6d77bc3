import type { AdapterFiles } from "@loomweight/adapters";
import {
  type AnyAdapter,
  type AttachedFilesOptions,
  type Attachment,
  type AttachOptions,
  attach,
  attachedFiles,
} from "@loomweight/adapters/attach";
import type { Checkpoint } from "@loomweight/checkpoint";
import type { Runtime } from "@loomweight/graph";
import {
  type ImportedModel,
  importOnnx,
  type LazyTensor,
  type OnnxModel,
  type Value,
  type ValueSite,
} from "@loomweight/graph";
import {
  type Batch,
  type BatchSource,
  type ClipOptions,
  type LossParts,
  type Optimizer,
  type RandomInputs,
  type StepMetrics,
  type Training,
  train,
} from "@loomweight/graph/training";
import { adamw, groups } from "@loomweight/optim";
import { elementCount, LoomweightError, type Tensor } from "@loomweight/tensor";
import { blockCheckpoints } from "./blocks.ts";
import { type Evaluations, rememberingEvaluations, savedEvaluations } from "./evaluations.ts";
import { modelInputs, toldInputs } from "./inputs.ts";
import { type AdapterLoss, batchLoss, type Objective } from "./objectives.ts";
import { segmentMask } from "./packing.ts";

export interface TrainAdapterOptions extends AttachOptions {
  readonly runtime: Runtime;
  /** The base model: built by `@loomweight/models` (fuse: "none"), or an imported file. */
  readonly model: OnnxModel | ImportedModel;
  /** The base's weights, which tell how layers are stored where the graph does not. */
  readonly checkpoint?: Checkpoint;
  /** A fresh adapter of layers or of modules, or one of a folder to go on with; several are trained together. */
  readonly adapter: AnyAdapter | readonly AnyAdapter[];
  /**
   * Batches: the model's inputs by name, what adapters are told (`task`), and `labels`. Rows and columns of `input_ids`
   * fix what is not fed: an empty cache, positions, a mask of ones. With `segment_ids` [rows, length] (as `packTokens`
   * of `@loomweight/data` gives them) tokens see those of their own segment only.
   */
  readonly batches: BatchSource;
  /** What is lowered; default "next-token". A function sees the model's outputs. */
  readonly objective?: Objective | AdapterLoss;
  /** Name of the model's output that the objective reads; default "logits". */
  readonly output?: string;
  /** Default adamw without weight decay, as the trainers of the field have it for adapters. */
  readonly optimizer?: Optimizer;
  /** A number, or a schedule of the number of steps done before. Default 2e-4. */
  readonly learningRate?: number | ((step: number) => number);
  /** LoRA+ (Hayou et al. 2024, arXiv:2402.12354): the learning rate of the B factors is so many times that of A. Default 1. */
  readonly loraPlusRatio?: number;
  readonly steps?: number;
  /** Batches whose gradients are averaged for one update; default 1. */
  readonly accumulate?: number;
  readonly clip?: ClipOptions;
  /**
   * "shared": the base's large float32 weights are held once, for all programs of the training. "copied": each program
   * (steps, evaluations, other shapes of batch) has its own copies, laid out for its products: on the CPU a tenth to a quarter
   * faster, for two more copies of the base in memory. Default "shared".
   */
  readonly baseWeights?: "shared" | "copied";
  /** Recompute each block of layers in the backward pass instead of keeping its values. Default false. */
  readonly gradientCheckpointing?: boolean;
  readonly evaluation?: {
    readonly batches: () => Iterable<Batch> | AsyncIterable<Batch>;
    /** Steps from one to the next; default only when asked for. */
    readonly every?: number;
    /** Ends the training after so many evaluations without a lower loss; default never. */
    readonly patience?: number;
  };
  /** What `save` gave: goes on at the next step, bit for bit. */
  readonly resume?: Uint8Array | Checkpoint;
  readonly progress?: (line: string) => void;
  readonly signal?: AbortSignal;
}

/** A training of adapters under way. */
export interface AdapterTraining extends AsyncIterable<StepMetrics> {
  readonly attachment: Attachment;
  /** The loop below: its state, steps and `save`. */
  readonly training: Training;
  /** Number of values that are trained. */
  readonly trainable: number;
  /** Why the last loop ended. */
  readonly ended: "batches" | "patience" | undefined;
  /** Lowest loss of the evaluations, and its step. */
  readonly best: { readonly step: number; readonly loss: number } | undefined;
  finish(): Promise<StepMetrics | undefined>;
  evaluate(): Promise<Readonly<Record<string, number>>>;
  /** Present values of what is trained; `best`: those of the lowest evaluation, where there was one. */
  parameters(options?: { readonly best?: boolean }): Promise<Readonly<Record<string, Tensor>>>;
  /** The files of an adapter as it is now: PEFT's, or those of an adapter of block scope. */
  files(options?: Omit<AttachedFilesOptions, "parameters"> & { readonly best?: boolean }): Promise<AdapterFiles>;
  close(): Promise<void>;
}

/**
 * Trains adapters on a model whose own weights stay as they are; they are weights of the training graph, in the dtype
 * in which the model holds them (quantized ones too: gradients pass through them to the layers before). Throws what
 * `attach` and `train` throw.
 */
export async function trainAdapter(options: TrainAdapterOptions): Promise<AdapterTraining> {
  const { objective = "next-token", evaluation, seed = 0, output = "logits" } = options;
  const imported = "parameters" in options.model ? options.model : await importOnnx(options.model);
  const attachment = await attach(imported, options.checkpoint, options.adapter, {
    seed,
    statistics: options.statistics,
  });
  const checkpoints = options.gradientCheckpointing === true ? blockCheckpoints(imported) : undefined;
  const base = options.baseWeights === "copied" ? new Map<string, string>() : sharedWeights(imported, attachment);
  const lossOf = (
    values: Readonly<Record<string, Value>>,
    batch: Readonly<Record<string, Value>>,
    random: RandomInputs | undefined,
  ): LossParts => {
    const { outputs } = attachment.instantiate({
      parameters: Object.fromEntries(Object.keys(attachment.parameters).map((name) => [name, values[name]])),
      weights: Object.fromEntries([...base].map(([weight, name]) => [weight, values[name]])),
      inputs: { ...modelInputs(imported, batch), ...toldInputs(attachment, batch) },
      random,
      change: inTurn(
        batch.segment_ids === undefined ? undefined : segmentMask(imported, batch.segment_ids),
        random === undefined ? undefined : checkpoints?.change(),
      ),
    });
    return batchLoss(objective, output, outputs, batch);
  };
  const { resume, evaluations } = await savedEvaluations(options.resume);
  const training = await train({
    runtime: options.runtime,
    parameters: {
      ...attachment.parameters,
      ...Object.fromEntries(
        [...base].map(([weight, name]) => [name, imported.parameters.get(weight)?.data as LazyTensor]),
      ),
    },
    trainable: (name) => Object.hasOwn(attachment.parameters, name),
    loss: (parameters, batch, { random }) => lossOf(parameters, batch, random),
    optimizer: withLoraPlus(options.optimizer ?? adamw({ weightDecay: 0 }), options.loraPlusRatio),
    learningRate: options.learningRate ?? 2e-4,
    batches: options.batches,
    steps: options.steps,
    accumulate: options.accumulate,
    clip: options.clip,
    seed,
    resume,
    progress: options.progress,
    signal: options.signal,
    ...(evaluation !== undefined && {
      evaluation: {
        batches: evaluation.batches,
        every: evaluation.every,
        metrics: (parameters: Readonly<Record<string, Value>>, batch: Readonly<Record<string, Value>>) => {
          const { loss, metrics = {} } = lossOf(parameters, batch, undefined);
          return { loss, ...metrics };
        },
      },
    }),
  });
  return followed(attachment, rememberingEvaluations(training, evaluations), evaluations, evaluation?.patience);
}

/** The loop with early stopping and the best values kept. */
function followed(
  attachment: Attachment,
  training: Training,
  kept: Evaluations,
  patience: number | undefined,
): AdapterTraining {
  let ended: AdapterTraining["ended"];
  const inner = training[Symbol.asyncIterator]();
  const next = async (): Promise<IteratorResult<StepMetrics>> => {
    if (patience !== undefined && kept.waited >= patience) {
      ended = "patience";
      return { done: true, value: undefined };
    }
    const result = await inner.next();
    if (result.done === true) {
      ended = "batches";
      return result;
    }
    const { evaluation, step } = result.value;
    if (evaluation !== undefined) {
      if (kept.best === undefined || evaluation.loss < kept.best.loss) {
        kept.best = { step, loss: evaluation.loss, parameters: await training.parameters() };
        kept.waited = 0;
      } else kept.waited++;
    }
    return result;
  };
  const self: AdapterTraining = {
    attachment,
    training,
    trainable: Object.values(attachment.parameters).reduce(
      (sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1),
      0,
    ),
    get ended() {
      return ended;
    },
    get best() {
      return kept.best && { step: kept.best.step, loss: kept.best.loss };
    },
    [Symbol.asyncIterator]: () => ({ next }),
    async finish() {
      let last: StepMetrics | undefined;
      for (let result = await next(); result.done !== true; result = await next()) last = result.value;
      return last;
    },
    evaluate: () => training.evaluate(),
    parameters: async (options = {}) =>
      options.best === true && kept.best !== undefined ? kept.best.parameters : training.parameters(),
    files: async ({ best: wanted, ...options } = {}) =>
      attachedFiles(attachment, { ...options, parameters: await self.parameters({ best: wanted }) }),
    close: () => training.close(),
  };
  return self;
}

/** Factors named B learn faster. */
function withLoraPlus(optimizer: Optimizer, ratio: number | undefined): Optimizer {
  if (ratio === undefined || ratio === 1) return optimizer;
  if (!(ratio > 0)) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "invalid value",
      option: "loraPlusRatio",
      expected: "a number above 0",
      found: String(ratio),
    });
  }
  return groups([{ parameters: "*.B", optimizer, learningRateScale: ratio }], optimizer);
}

type Change = (site: ValueSite) => Value | undefined;

/** One change after the other. */
function inTurn(first: Change | undefined, second: Change | undefined): Change | undefined {
  if (first === undefined || second === undefined) return first ?? second;
  return (site) => {
    const value = first(site);
    return second(value === undefined ? site : { ...site, value }) ?? value;
  };
}

/** Smaller weights stay constants of each graph, which onnxruntime computes with while it loads. */
const smallestShared = 1024;

/** Initializers of the base that the state of the training holds → their names there. */
function sharedWeights(imported: ImportedModel, attachment: Attachment): Map<string, string> {
  const trained = new Set(attachment.saved.map(({ initializer }) => initializer));
  const shared = new Map<string, string>();
  for (const [name, { dtype, shape }] of imported.parameters) {
    if (dtype !== "float32" || trained.has(name) || elementCount(shape.map(Number)) < smallestShared) continue;
    shared.set(name, `base/${name}`);
  }
  return shared;
}
