import { mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { type AnyAdapter, isBlockSpec, openAnyAdapter } from "@loomweight/adapters/attach";
import type { Checkpoint } from "@loomweight/checkpoint";
import { folderFileSet, openCheckpoint, openModel } from "@loomweight/checkpoint/node";
import { batches, batchesPerEpoch, type Dataset, imageBatch, sampleCount } from "@loomweight/data";
import { decodeImage, openImageFolder } from "@loomweight/data/node";
import type { OnnxModel } from "@loomweight/graph";
import { createRuntime, openOnnxFile, saveTraining } from "@loomweight/graph/node";
import type { Optimizer, StepMetrics } from "@loomweight/graph/training";
import { buildModel, detectTask, familyOf, type Task } from "@loomweight/models";
import {
  adafactor,
  adamw,
  constantSchedule,
  cosineSchedule,
  linearSchedule,
  lion,
  sgd,
  warmup,
} from "@loomweight/optim";
import { fromData, LoomweightError } from "@loomweight/tensor";
import type { Objective } from "../objectives.ts";
import { type AdapterTraining, trainAdapter } from "../train-adapter.ts";
import type { TrainConfig } from "./config.ts";
import { startFromData } from "./data-start.ts";
import { readExamples, textRows } from "./text-data.ts";
import { openTrainTokenizer } from "./tokenizer.ts";

export interface TrainFolderOptions {
  /** Relative paths of the configuration are found from here; default the working folder. */
  readonly root?: string;
  /** Go on where the checkpoint in the output folder stands. Default false. */
  readonly resume?: boolean;
  /** Write into an output folder that holds an adapter already. Default false. */
  readonly force?: boolean;
  /** Threads of onnxruntime; default its own choice. */
  readonly threads?: number;
  readonly onStep?: (metrics: StepMetrics, steps: number) => void;
  readonly signal?: AbortSignal;
}

export interface TrainFolderResult {
  readonly out: string;
  readonly steps: number;
  readonly loss: number | undefined;
  readonly evaluation: Readonly<Record<string, number>> | undefined;
  readonly best: { readonly step: number; readonly loss: number } | undefined;
  readonly ended: AdapterTraining["ended"];
  /** Values that were trained. */
  readonly trainable: number;
  readonly modules: number;
  readonly warnings: readonly string[];
}

/** Everything needed for the next step, beside the adapter's own files, which PEFT leaves alone. */
const stateFile = "training.safetensors";

const taskTypes: Readonly<Partial<Record<Task, string>>> = {
  "text-generation": "CAUSAL_LM",
  "text-classification": "SEQ_CLS",
  "token-classification": "TOKEN_CLS",
  "feature-extraction": "FEATURE_EXTRACTION",
};

/**
 * Trains an adapter as a configuration says, and writes a folder that PEFT loads. With evaluations the values of the best
 * one are written. Throws what reading, `attach` and `train` throw, and `OUTPUT_EXISTS`.
 */
export async function trainAdapterFolder(
  config: TrainConfig,
  options: TrainFolderOptions = {},
): Promise<TrainFolderResult> {
  const { root = ".", resume = false, force = false } = options;
  const path = (name: string) => resolve(root, name);
  const out = path(config.out);
  const state = join(out, stateFile);
  const exists = async (file: string) => (await stat(file).catch(() => undefined)) !== undefined;
  if (!resume && !force && (await exists(join(out, "adapter_config.json")))) throw outputExists(config.out);
  const closing: { close(): Promise<unknown> }[] = [];
  try {
    const base = await openBase(path(config.model), config);
    closing.push(base);
    const data = await openData(config, base, path);
    const adapter = await openStart(config, base, path);
    if ("checkpoint" in adapter) closing.unshift(adapter.checkpoint);
    const { training: chosen } = config;
    const rows = sampleCount(data.train);
    const perEpoch = batchesPerEpoch(rows, { batchSize: chosen.batchSize });
    const steps =
      chosen.steps > 0 ? chosen.steps : Math.max(1, Math.floor((perEpoch * chosen.epochs) / chosen.accumulate));
    const runtime = await createRuntime({ threads: options.threads });
    closing.unshift(runtime);
    const saved: Checkpoint | undefined = resume && (await exists(state)) ? await openCheckpoint(state) : undefined;
    if (saved !== undefined) closing.unshift(saved);
    const begun =
      config.start === undefined || "checkpoint" in adapter || isBlockSpec(adapter)
        ? { adapter }
        : await startFromData(config.start, {
            runtime,
            model: base.model,
            checkpoint: base.checkpoint,
            adapter,
            objective: base.objective,
            batches: () => batches(data.train, { batchSize: chosen.batchSize, shuffle: chosen.seed }),
          });
    if ("warnings" in begun) data.warnings.push(...begun.warnings);
    const training = await trainAdapter({
      runtime,
      model: base.model,
      checkpoint: base.checkpoint,
      ...begun,
      objective: base.objective,
      batches: (position) =>
        batches(data.train, {
          batchSize: chosen.batchSize,
          epochs: Number.POSITIVE_INFINITY,
          shuffle: chosen.seed,
          skip: position,
        }),
      steps,
      optimizer: optimizerOf(chosen),
      learningRate: scheduleOf(chosen, steps),
      loraPlusRatio: chosen.loraPlusRatio,
      accumulate: chosen.accumulate,
      ...(chosen.clipNorm > 0 && { clip: { norm: chosen.clipNorm } }),
      gradientCheckpointing: chosen.gradientCheckpointing,
      seed: chosen.seed,
      ...(data.evaluation !== undefined && {
        evaluation: {
          batches: () => batches(data.evaluation as Dataset, { batchSize: chosen.batchSize }),
          ...(chosen.evaluateEvery > 0 && { every: chosen.evaluateEvery }),
          ...(chosen.patience > 0 && { patience: chosen.patience }),
        },
      }),
      resume: saved,
      signal: options.signal,
    });
    closing.unshift(training);
    const { attachment } = training;
    await mkdir(out, { recursive: true });
    const write = async () => {
      const prefix = base.prefix !== "" && attachment.saved.length === 0 ? base.prefix : "";
      const files = await training.files({ best: true, prefix, config: { base_model_name_or_path: config.model } });
      await replaceFile(join(out, "adapter_model.safetensors"), files.weights);
      await replaceFile(join(out, "adapter_config.json"), files.config);
    };
    let last: StepMetrics | undefined;
    for await (const metrics of training) {
      last = metrics;
      options.onStep?.(metrics, steps);
      if (chosen.saveEvery > 0 && metrics.step % chosen.saveEvery === 0) {
        await saveTraining(state, training.training);
        await write();
      }
    }
    await saveTraining(state, training.training);
    await write();
    const evaluation = data.evaluation === undefined ? undefined : (last?.evaluation ?? (await training.evaluate()));
    return {
      out,
      steps: training.training.step,
      loss: last?.loss,
      evaluation,
      best: training.best,
      ended: training.ended,
      trainable: training.trainable,
      modules:
        attachment.adapters.reduce((sum, { modules }) => sum + modules.size, 0) +
        attachment.blocks.reduce((sum, { sites }) => sum + sites.length, 0),
      warnings: [...data.warnings, ...attachment.warnings],
    };
  } finally {
    for (const each of closing) await each.close();
  }
}

interface Base {
  readonly model: OnnxModel;
  readonly checkpoint: Checkpoint | undefined;
  readonly config: Readonly<Record<string, unknown>>;
  readonly folder: string;
  readonly task: Task;
  readonly objective: Objective;
  /** What the base's names lack before their module paths in the model that PEFT loads. */
  readonly prefix: string;
  close(): Promise<void>;
}

async function openBase(path: string, { task }: TrainConfig): Promise<Base> {
  if (path.endsWith(".onnx")) {
    const file = await openOnnxFile(path);
    const chosen = (task ?? "text-generation") as Task;
    const folder = basename(dirname(path)) === "onnx" ? dirname(dirname(path)) : dirname(path);
    const config = await readConfigBeside(folder);
    const objective = objectiveOf(chosen);
    return {
      model: file.model,
      checkpoint: undefined,
      config,
      folder,
      task: chosen,
      objective,
      prefix: "",
      close: () => file.close(),
    };
  }
  const base = await openModel(path);
  try {
    const chosen = (task ?? detectTask(base)) as Task;
    const { model } = await buildModel(base, chosen, { fuse: "none" });
    const { basePrefix } = familyOf(base);
    const bare = basePrefix !== "" && ![...base.checkpoint.tensors.keys()].some((name) => name.startsWith(basePrefix));
    return {
      model,
      checkpoint: base.checkpoint,
      config: base.config ?? {},
      folder: path,
      task: chosen,
      objective: objectiveOf(chosen),
      prefix: bare && chosen !== "feature-extraction" ? basePrefix : "",
      close: () => base.close(),
    };
  } catch (error) {
    await base.close();
    throw error;
  }
}

function objectiveOf(task: Task): Objective {
  if (task === "text-generation") return "next-token";
  if (task === "text-classification" || task === "image-classification") return "classes";
  throw new LoomweightError({
    code: "UNSUPPORTED_TASK",
    problem: `the command does not know data for ${task}`,
    option: "task",
    expected: "text-generation, text-classification or image-classification",
    fix: "Call trainAdapter with batches of your own.",
  });
}

async function readConfigBeside(folder: string): Promise<Readonly<Record<string, unknown>>> {
  const text = await readFile(join(folder, "config.json"), "utf8").catch(() => "{}");
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return {};
  }
}

async function openStart(config: TrainConfig, base: Base, path: (name: string) => string): Promise<AnyAdapter> {
  if ("from" in config.adapter) return openAnyAdapter(await folderFileSet(path(config.adapter.from)));
  return { ...config.adapter, taskType: taskTypes[base.task] };
}

async function openData(
  config: TrainConfig,
  base: Base,
  path: (name: string) => string,
): Promise<{ train: Dataset; evaluation: Dataset | undefined; warnings: string[] }> {
  const { data } = config;
  const read = base.task === "image-classification" ? await imageReader(base) : await textReader(config, base, path);
  const evaluation = data.evaluation === "" ? undefined : await read(path(data.evaluation));
  return { train: await read(path(data.train)), evaluation, warnings: [] };
}

async function textReader(config: TrainConfig, base: Base, path: (name: string) => string) {
  const tokenizer = await openTrainTokenizer(config.tokenizer === undefined ? base.folder : path(config.tokenizer));
  const classes = base.task === "text-classification" ? classNames(base.config) : undefined;
  const options = { ...config.data, tokenizer, classes };
  return async (file: string): Promise<Dataset> => {
    const examples = await readExamples(file, options);
    const unlabelled = examples.findIndex(({ label }) => label === undefined);
    if (base.task === "text-classification" && unlabelled >= 0) {
      throw new LoomweightError({
        code: "INVALID_DATA",
        problem: `example ${unlabelled + 1} has no label`,
        file,
        expected: '{"text", "label"}',
      });
    }
    return textRows(examples, options);
  };
}

/** Images at the size and scale of preprocessor_config.json. */
async function imageReader(base: Base) {
  const text = await readFile(join(base.folder, "preprocessor_config.json"), "utf8").catch(() => "{}");
  const facts = JSON.parse(text) as { size?: unknown; image_mean?: number[]; image_std?: number[] };
  const shape = base.model.graph.inputs.find(({ name }) => name === "pixel_values")?.shape ?? [];
  const size = facts.size as { height?: number; width?: number; shortest_edge?: number } | number | undefined;
  const side = typeof size === "number" ? size : (size?.shortest_edge ?? Number(base.config.image_size ?? 224));
  const height = typeof shape[2] === "number" ? shape[2] : ((size as { height?: number })?.height ?? side);
  const width = typeof shape[3] === "number" ? shape[3] : ((size as { width?: number })?.width ?? side);
  const channels = shape[1] === 1 || base.config.num_channels === 1 ? 1 : 3;
  const names = classNames(base.config);
  return async (folder: string): Promise<Dataset> => {
    const { classes, images } = await openImageFolder(folder);
    const ids = classes.map((name, index) => (names === undefined ? index : names.indexOf(name)));
    const unknown = classes.find((_, index) => ids[index] < 0);
    if (unknown !== undefined) {
      throw new LoomweightError({
        code: "INVALID_DATA",
        problem: `the folder "${unknown}" is no class of the model`,
        file: folder,
        expected: names?.slice(0, 10).join(", "),
      });
    }
    const decoded = [];
    for (const image of images) decoded.push(await decodeImage(image.path, { width, height, channels }));
    return {
      pixel_values: imageBatch(decoded, { mean: facts.image_mean, deviation: facts.image_std }),
      labels: fromData(
        "int64",
        BigInt64Array.from(images, ({ label }) => BigInt(ids[label])),
        [images.length],
      ),
    };
  };
}

/** Names of the classes in order, as `id2label` has them. */
function classNames(config: Readonly<Record<string, unknown>>): readonly string[] | undefined {
  const names = config.id2label;
  if (typeof names !== "object" || names === null) return undefined;
  const entries = Object.entries(names).sort(([a], [b]) => Number(a) - Number(b));
  return entries.map(([, name]) => String(name));
}

function optimizerOf({ optimizer, weightDecay }: TrainConfig["training"]): Optimizer {
  if (optimizer === "adamw") return adamw({ weightDecay });
  return optimizer === "sgd" ? sgd() : optimizer === "lion" ? lion() : adafactor();
}

function scheduleOf(chosen: TrainConfig["training"], steps: number): (step: number) => number {
  const rate = chosen.learningRate;
  const left = Math.max(1, steps - chosen.warmup);
  const fall =
    chosen.schedule === "constant"
      ? constantSchedule({ rate })
      : chosen.schedule === "linear"
        ? linearSchedule({ rate, steps: left })
        : cosineSchedule({ rate, steps: left });
  return chosen.warmup > 0 ? warmup(fall, { steps: chosen.warmup }) : fall;
}

async function replaceFile(path: string, content: string | Uint8Array): Promise<void> {
  await writeFile(`${path}.part`, content);
  await rename(`${path}.part`, path);
}

function outputExists(file: string): LoomweightError {
  return new LoomweightError({
    code: "OUTPUT_EXISTS",
    problem: "the output folder holds an adapter already",
    file,
    fix: "Go on with --resume, replace it with --force, or name another folder.",
  });
}
