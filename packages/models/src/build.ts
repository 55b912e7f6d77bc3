import type { ModelFolder } from "@loomweight/checkpoint";
import { assemble, type Device, named, type OnnxModel } from "@loomweight/graph";
import { LoomweightError, unknownName } from "@loomweight/tensor";
import { logitsToKeepInput } from "./components/decoder.ts";
import type { TiedHead } from "./components/heads.ts";
import { type Pooling, pooled } from "./components/pooling.ts";
import { type ConfigReader, readConfigFields } from "./config-reader.ts";
import { families as allFamilies } from "./families.ts";
import type { AnyFamily, FamilyGraph, FamilyGraphs, GraphName, ModelFamily } from "./family.ts";
import { checkDevices, defaultDevices, type Fuse, fusedFor } from "./fusions.ts";
import { harmlessFields } from "./harmless-fields.ts";
import { rewriteNorms } from "./rewrite-norms.ts";
import { type Task, taskNamed, tasks } from "./tasks.ts";
import { requireEqualHeads } from "./tied-head.ts";
import { type ComputeDType, weightsOf } from "./weights.ts";

export interface BuildModelOptions {
  /** dtype of weights and arithmetic; inputs and outputs stay float32. Default "float32". */
  readonly dtype?: ComputeDType;
  /** dtype of the cache inputs and outputs. Default "float32". */
  readonly cacheDtype?: ComputeDType;
  /** Which operators the graph may use; default "onnxruntime": fused ones that all `devices` have. */
  readonly fuse?: Fuse;
  /**
   * Where the graph may run; default cpu, wasm and webgpu. WebGPU alone: every node has a kernel there, sizes and positions
   * included, at the price of positions that end at `max_position_embeddings`.
   */
  readonly devices?: readonly Device[];
  /**
   * Whether query, key and value of a decoder are computed by one product, with a weight "….qkv_proj.weight" joined from
   * those of the checkpoint. Default true, and always false with `fuse` "none".
   */
  readonly packed?: boolean;
  /**
   * 1: a decoder for text-generation takes one row at a time. On devices that allow it (CPUs, not WebGPU) attention then turns
   * queries and keys itself: fewer operators a token. Default: any number of rows.
   */
  readonly batchSize?: 1;
  /** How a head tied to the embedding is written; default "shared". */
  readonly tiedHead?: TiedHead;
  /**
   * Adds the input `num_logits_to_keep` (int64, no axes) to decoders: logits of that many last positions only, 0 for all.
   * transformers.js feeds it 1 while it generates; onnxruntime-genai and optimum do not feed it. Default false.
   */
  readonly logitsToKeep?: boolean;
  /** Adds `sentence_embedding` to feature extraction of texts, as sentence-transformers pools; default not. */
  readonly pooling?: Pooling;
  /** Fields of config.json that are known to have no effect, beside those this package knows. */
  readonly ignoreConfig?: readonly string[];
  /** Tensors of the checkpoint that may stay unused, beside those the family knows. */
  readonly ignoreTensors?: readonly RegExp[];
  /** Families to choose from; default all. */
  readonly families?: readonly AnyFamily[];
}

/** A model as a graph. */
export interface BuiltModel {
  readonly family: string;
  readonly task: Task;
  /** The graph, or where there are several the one that answers: the decoder of an encoder–decoder. Weights are read when it is written. */
  readonly model: OnnxModel;
  /** All graphs by the name of their file: "model", or "encoder_model" and "decoder_model_merged", or "text_model" and "vision_model". */
  readonly models: ReadonlyMap<GraphName, OnnxModel>;
}

/**
 * The graph of a model folder for a task. Inputs and outputs are named as transformers.js feeds and reads them; weights
 * keep the checkpoint's names and are read, cast and transposed when the model is written. Throws `MISSING_CONFIG`,
 * `UNKNOWN_FAMILY`, `INVALID_CONFIG`, `UNKNOWN_CONFIG_FIELD`, `UNSUPPORTED_TASK`, `MISSING_TENSOR`, `SHAPE_MISMATCH`,
 * `UNUSED_TENSORS`, `TIED_HEAD_DIFFERS`.
 */
export async function buildModel(
  folder: Pick<ModelFolder, "location" | "config" | "checkpoint">,
  wanted: Task = detectTask(folder),
  options: BuildModelOptions = {},
): Promise<BuiltModel> {
  const { dtype = "float32", cacheDtype = "float32", fuse = "onnxruntime", tiedHead = "shared" } = options;
  const devices = checkDevices(options.devices ?? defaultDevices);
  const family = familyOf(folder, options.families);
  const task = taskNamed(String(wanted));
  if (task === undefined) throw unknownName({ kind: "task", name: String(wanted), known: tasks, option: "task" });
  if (!family.tasks.includes(task)) {
    throw new LoomweightError({
      code: "UNSUPPORTED_TASK",
      problem: `${family.name} is not built for ${task}`,
      option: "task",
      expected: family.tasks.join(", "),
    });
  }
  const fields = configFields(folder);
  const config = readFamilyConfig(family, fields, options.ignoreConfig ?? []);
  const weights = weightsOf(folder.checkpoint, { dtype, basePrefix: family.basePrefix, configFile: fields.file });
  const head = family.headNames?.(config, task);
  if (head !== undefined) await requireEqualHeads(folder.checkpoint, weights, head);

  const fused = fusedFor(fuse, devices, dtype);
  const gpuOnly = devices.length === 1 && devices[0] === "webgpu";
  const packs = fuse !== "none" && (options.packed ?? true);
  const cpuOnly = devices.every((device) => device === "cpu" || device === "wasm");
  const model = { path: "", weights, fused, packs, cpuOnly, gpuOnly };
  const { logitsToKeep = false, batchSize } = options;
  if (batchSize !== undefined && batchSize !== 1) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "only a single row or any number of rows can be built for",
      option: "batchSize",
      expected: "1, or nothing",
      found: String(batchSize),
    });
  }
  const plain = family.build({ config, model, task, dtype, cacheDtype, tiedHead, logitsToKeep, batchSize });
  if (logitsToKeep) requireLogitsToKeep(plain, gpuOnly);
  if (batchSize !== undefined) requireDecoder(plain, task);
  const built = withPooling(plain, options.pooling);
  if (task === "feature-extraction") {
    // the head of a checkpoint that generates
    const spare = family.headNames?.(config, "text-generation")?.head;
    for (const each of ["weight", "bias"]) weights.ignore(`${spare}.${each}`);
  }
  const unneeded = [...family.unneeded, ...(family.unneededFor?.[task] ?? []), ...(options.ignoreTensors ?? [])];
  refuseUnused(folder.checkpoint.location, weights.unused(unneeded));
  const graphs = Object.entries("graphs" in built ? built.graphs : { model: built }) as [GraphName, FamilyGraph][];
  const models = new Map(
    graphs.map(([name, { inputs, outputs }]) => {
      const title = `${family.name} ${task}${name === "model" ? "" : ` ${name}`}`;
      return [name, rewriteNorms(assemble({ name: title, inputs, outputs }), { fused })];
    }),
  );
  return { family: family.name, task, model: [...models.values()][models.size - 1], models };
}

/** Refuses the option `logitsToKeep` where nothing came of it, and where no node may run on the CPU. */
function requireLogitsToKeep(built: FamilyGraph | FamilyGraphs, gpuOnly: boolean): void {
  const found = !("graphs" in built) && built.inputs.some(({ name }) => name === logitsToKeepInput);
  if (found && !gpuOnly) return;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: found
      ? `where ${logitsToKeepInput} cuts is computed on the CPU, and a graph for WebGPU alone leaves nothing to it`
      : `only decoders for text-generation take ${logitsToKeepInput}`,
    option: "logitsToKeep",
    fix: found ? "Name another device beside webgpu, or leave the option out." : "Leave the option out.",
  });
}

/** Refuses the option `batchSize` where it says nothing. */
function requireDecoder(built: FamilyGraph | FamilyGraphs, task: Task): void {
  if (!("graphs" in built) && task === "text-generation") return;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: "only decoders for text-generation are built for a single row",
    option: "batchSize",
    fix: "Leave the option out.",
  });
}

/** Adds the pooled vector where there are states of tokens and a mask. */
function withPooling(built: FamilyGraph | FamilyGraphs, pooling: Pooling | undefined): FamilyGraph | FamilyGraphs {
  if (pooling === undefined || "graphs" in built) return built;
  const { last_hidden_state: states } = built.outputs;
  const mask = built.inputs.find(({ name }) => name === "attention_mask");
  if (states === undefined || mask === undefined) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "only states of tokens can be pooled",
      option: "pooling",
      fix: "Build the task feature-extraction of a text encoder, or leave the option out.",
    });
  }
  const sentence = named("pooling", () => pooled(states, mask, pooling));
  return { ...built, outputs: { ...built.outputs, sentence_embedding: sentence } };
}

/** The task that the class named first in config.json's `architectures` stands for. */
export function detectTask(folder: Pick<ModelFolder, "location" | "config">): Task {
  const family = familyOf(folder);
  const fields = configFields(folder);
  const stated = fields.texts("architectures")?.[0];
  if (stated !== undefined && Object.hasOwn(family.architectures, stated)) return family.architectures[stated];
  throw fields.refuse(
    "architectures",
    `first one of ${Object.keys(family.architectures).join(", ")}`,
    `Name the task yourself: ${family.tasks.join(", ")}.`,
  );
}

/** The family that `model_type` names. Throws `UNKNOWN_FAMILY`. */
export function familyOf(
  folder: Pick<ModelFolder, "location" | "config">,
  known: readonly AnyFamily[] = allFamilies,
): AnyFamily {
  const type = configFields(folder).text("model_type");
  const family = known.find(({ modelTypes }) => type !== undefined && modelTypes.includes(type));
  if (family !== undefined) return family;
  throw unknownName({
    kind: "model_type",
    name: type ?? "",
    known: known.flatMap(({ modelTypes }) => modelTypes),
    code: "UNKNOWN_FAMILY",
    file: configName(folder),
    fix: `Families that are built: ${known.map(({ name }) => name).join(", ")}.`,
  });
}

function configFields(folder: Pick<ModelFolder, "location" | "config">): ConfigReader {
  if (folder.config === undefined) {
    throw new LoomweightError({
      code: "MISSING_CONFIG",
      problem: "there is no config.json",
      file: folder.location,
      fix: "A graph is built from the configuration beside the weights; copy it from the model's repository.",
    });
  }
  return readConfigFields(folder.config, configName(folder));
}

const configName = ({ location }: { location: string }) => `${location.replace(/[/\\]$/, "")}/config.json`;

/** Reads what the family asks for, then refuses what nobody read. */
export function readFamilyConfig<C>(family: ModelFamily<C>, fields: ConfigReader, ignored: readonly string[]): C {
  const ignore = new Set(ignored);
  const visible: ConfigReader = {
    ...fields,
    only(field, values, meaning) {
      if (!ignore.has(field)) fields.only(field, values, meaning);
    },
  };
  visible.only("quantization_config", [], "quantized checkpoints are not built; export from the original weights");
  if (!isKnownCode(fields.value("auto_map"), family.knownCode ?? []) && !ignore.has("auto_map")) {
    throw fields.refuse("auto_map", "absent: the folder brings model code of its own, which is never run");
  }
  const encoderDecoder = family.encoderDecoder === true;
  visible.only("is_encoder_decoder", encoderDecoder ? [false, true] : [false], "this family is no encoder-decoder");
  const pruned = fields.value("pruned_heads");
  if (pruned !== undefined && JSON.stringify(pruned) !== "{}") {
    throw fields.refuse("pruned_heads", "{}", "Models with pruned heads are not built yet.");
  }
  const config = family.readConfig(visible);
  fields.finish(new Set([...harmlessFields, ...ignore]));
  return config;
}

/** Whether every class of an `auto_map` is one that the family stands for: "modeling_phi3.Phi3ForCausalLM". */
function isKnownCode(map: unknown, known: readonly string[]): boolean {
  if (map === undefined) return true;
  if (typeof map !== "object" || map === null) return false;
  return Object.values(map).every(
    (place) => typeof place === "string" && known.includes(place.slice(place.lastIndexOf(".") + 1)),
  );
}

function refuseUnused(location: string, unused: readonly string[]): void {
  if (unused.length === 0) return;
  const shown = unused.slice(0, 5).map((name) => `"${name}"`);
  throw new LoomweightError({
    code: "UNUSED_TENSORS",
    problem: `${unused.length} ${unused.length === 1 ? "tensor has" : "tensors have"} no place in the model that config.json describes`,
    file: location,
    found: `${shown.join(", ")}${unused.length > shown.length ? ", …" : ""}`,
    fix: "Check that configuration and weights belong together, or list them under the option ignoreTensors.",
  });
}
