import { readFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { type Checkpoint, parseJsonObject } from "@loomweight/checkpoint";
import { openModel } from "@loomweight/checkpoint/node";
import type { OnnxModel } from "@loomweight/graph";
import { openOnnxFile } from "@loomweight/graph/node";
import { buildModel, detectTask, familyOf, type Task } from "@loomweight/models";
import { LoomweightError } from "@loomweight/tensor";
import type { Objective } from "../objectives.ts";
import type { TrainConfig } from "./config.ts";

/** The model that is adapted, opened. */
export interface Base {
  readonly model: OnnxModel;
  readonly checkpoint: Checkpoint | undefined;
  readonly config: Readonly<Record<string, unknown>>;
  /** Where its tokenizer or preprocessor lies. */
  readonly folder: string;
  readonly task: Task;
  readonly objective: Objective;
  /** Number of its classes, where it has such. */
  readonly classes: number | undefined;
  /** What the base's names lack before their module paths in the model that PEFT loads. */
  readonly prefix: string;
  close(): Promise<void>;
}

/** A model's folder, or an .onnx file with the files of its model beside it or one folder up. */
export async function openBase(path: string, { task }: TrainConfig): Promise<Base> {
  return path.endsWith(".onnx") ? openFile(path, task) : openFolder(path, task);
}

async function openFile(path: string, task: string | undefined): Promise<Base> {
  const file = await openOnnxFile(path).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "ENOENT") throw cause;
    throw new LoomweightError({ code: "MISSING_FILE", problem: "there is no such model", file: path, cause });
  });
  try {
    const folder = basename(dirname(path)) === "onnx" ? dirname(dirname(path)) : dirname(path);
    const chosen = (task ?? taskOf(file.model, path)) as Task;
    return {
      model: file.model,
      checkpoint: undefined,
      config: (await readJsonFile(join(folder, "config.json"))) ?? {},
      folder,
      task: chosen,
      objective: objectiveOf(chosen),
      classes: classesOf(file.model),
      prefix: "",
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function openFolder(path: string, task: string | undefined): Promise<Base> {
  const base = await openModel(path);
  try {
    const chosen = (task ?? detectTask(base)) as Task;
    const objective = objectiveOf(chosen);
    const { model } = await buildModel(base, chosen, { fuse: "none" });
    const { basePrefix } = familyOf(base);
    const bare = basePrefix !== "" && ![...base.checkpoint.tensors.keys()].some((name) => name.startsWith(basePrefix));
    return {
      model,
      checkpoint: base.checkpoint,
      config: base.config ?? {},
      folder: path,
      task: chosen,
      objective,
      classes: classesOf(model),
      prefix: bare ? basePrefix : "",
      close: () => base.close(),
    };
  } catch (error) {
    await base.close();
    throw error;
  }
}

/** What a file computes, from its inputs and the shape of its logits. */
function taskOf({ graph }: OnnxModel, file: string): Task {
  const rank = logitsOf(graph)?.length;
  const has = (name: string) => graph.inputs.some((each) => each.name === name);
  if (has("pixel_values") && rank === 2) return "image-classification";
  if (has("input_ids") && rank === 2) return "text-classification";
  if (has("input_ids") && rank === 3) return "text-generation";
  throw new LoomweightError({
    code: "UNSUPPORTED_TASK",
    problem: "the file does not say what it computes",
    file,
    option: "task",
    expected: 'inputs "input_ids" or "pixel_values" and an output "logits"',
    found: `${graph.inputs.map(({ name }) => name).slice(0, 5)} → ${graph.outputs.map(({ name }) => name).slice(0, 5)}`,
    fix: "Give `task`.",
  });
}

const logitsOf = (graph: OnnxModel["graph"]) => graph.outputs.find(({ name }) => name === "logits")?.shape;

function classesOf({ graph }: OnnxModel): number | undefined {
  const shape = logitsOf(graph);
  const last = shape?.length === 2 ? shape[1] : undefined;
  return typeof last === "number" ? last : undefined;
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

/** A JSON object; undefined where there is no such file. */
export async function readJsonFile(file: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  const bytes = await readFile(file).catch((cause: NodeJS.ErrnoException) => {
    if (cause.code !== "ENOENT") throw cause;
    return undefined;
  });
  return bytes === undefined ? undefined : parseJsonObject(bytes, file);
}

/** Names of the classes in order, as `id2label` has them. */
export function classNames({ config, classes }: Base): readonly string[] | undefined {
  const names = config.id2label;
  if (typeof names !== "object" || names === null) {
    return classes === undefined ? undefined : Array.from({ length: classes }, (_, index) => `${index}`);
  }
  const entries = Object.entries(names).sort(([a], [b]) => Number(a) - Number(b));
  return entries.map(([, name]) => String(name)).slice(0, classes);
}
