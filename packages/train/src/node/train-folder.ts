import { mkdir, rename, stat, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type AnyAdapter, isBlockSpec, openAnyAdapter } from "@loomweight/adapters/attach";
import type { Checkpoint } from "@loomweight/checkpoint";
import { folderFileSet, openCheckpoint } from "@loomweight/checkpoint/node";
import { batches, batchesPerEpoch, type Dataset, sampleCount } from "@loomweight/data";
import { createRuntime, saveTraining } from "@loomweight/graph/node";
import type { Optimizer, StepMetrics } from "@loomweight/graph/training";
import type { Task } from "@loomweight/models";
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
import { LoomweightError } from "@loomweight/tensor";
import { type AdapterTraining, trainAdapter } from "../train-adapter.ts";
import type { TrainConfig } from "./config.ts";
import { startFromData } from "./data-start.ts";
import { type Base, openBase } from "./open-base.ts";
import { openData } from "./open-data.ts";

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
 * one are written. Stopped by its signal it writes where it stands. Throws what reading, `attach` and `train` throw, and `OUTPUT_EXISTS`.
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
    const save = async () => {
      await saveTraining(state, training.training);
      await write();
    };
    try {
      for await (const metrics of training) {
        last = metrics;
        options.onStep?.(metrics, steps);
        if (chosen.saveEvery > 0 && metrics.step % chosen.saveEvery === 0) await save();
      }
    } catch (cause) {
      if (options.signal?.aborted === true) await save(); // stopped between two steps: nothing is lost
      throw cause;
    }
    await save();
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
      warnings: [...("warnings" in begun ? begun.warnings : []), ...attachment.warnings],
    };
  } finally {
    for (const each of closing) await each.close();
  }
}

async function openStart(config: TrainConfig, base: Base, path: (name: string) => string): Promise<AnyAdapter> {
  if ("from" in config.adapter) return openAnyAdapter(await folderFileSet(path(config.adapter.from)));
  return { ...config.adapter, taskType: taskTypes[base.task] };
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
