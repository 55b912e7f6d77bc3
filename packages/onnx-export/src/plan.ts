import type { ModelFolder } from "@loomweight/checkpoint";
import type { Device, OnnxModel } from "@loomweight/graph";
import {
  type BuildModelOptions,
  buildModel,
  detectTask,
  type Fuse,
  familyOf,
  type GraphName,
  type Task,
  type TiedHead,
} from "@loomweight/models";
import { type QuantizeModelOptions, quantizeModel, quantizeWeightOnly, type TensorReport } from "@loomweight/quant";
import { LoomweightError } from "@loomweight/tensor";
import { type CompanionFile, companionsFor, toJson } from "./companions.ts";
import { exportedConfig } from "./config-file.ts";
import { checkDTypes, type ExportDType, exportDTypes, modelFileName } from "./dtypes.ts";
import { type Clamped, withinFloat16 } from "./float16-range.ts";
import type { ExportWarning } from "./report.ts";
import { sentencePooling } from "./sentence-pooling.ts";
import { type AdapterSlotsOptions, addAdapterSlots, joinSlots, type SlottedModel } from "./slots/add-slots.ts";
import { type AdapterSlots, slotsFile } from "./slots/slots.ts";
import { genaiConfig } from "./targets/genai-config.ts";
import { genaiType } from "./targets/genai-type.ts";
import { halfLogits } from "./targets/half-logits.ts";
import { checkTarget, type ExportTarget } from "./targets/target.ts";

export interface ExportOptions
  extends Pick<BuildModelOptions, "ignoreConfig" | "ignoreTensors" | "pooling" | "logitsToKeep" | "batchSize"> {
  /** Default: what config.json's `architectures` names; feature-extraction for a folder of sentence-transformers. */
  readonly task?: Task;
  /** Whose folder it is to be; default "transformers.js". */
  readonly target?: ExportTarget;
  /** Kinds of weights, one model file each; default fp32, q8 and q4. For genai one: q4. */
  readonly dtypes?: readonly ExportDType[];
  /** Which operators graphs may use; default "onnxruntime": fused ones that all devices have. */
  readonly fuse?: Fuse;
  /**
   * One product for query, key and value of decoders, in fp32, fp16, bf16, q4 and q4f16. Never with adapter slots, which are
   * for a layer each, or where `quantize` names weights (include, exclude, eightBits, rules). Default true.
   */
  readonly packed?: boolean;
  /** Where the files may run; default cpu, wasm and webgpu. WebGPU alone: no node is left to the CPU. */
  readonly devices?: readonly Device[];
  /**
   * dtype of cache inputs and outputs in fp16 and q4f16; default "float32", which every version of Node can feed, and for
   * genai "float16", as its own builder writes them; the logits of genai are of that dtype, too.
   */
  readonly cacheDtype?: "float32" | "float16";
  /**
   * Settings of the quantizers: include, exclude, blockSize, symmetric, accuracyLevel (default 4), perChannel, and embeddings
   * (default false; for genai "tied": a table that the head shares is stored once, in 4 bits, as its own builder writes it).
   */
  readonly quantize?: Omit<QuantizeModelOptions, "onTensor" | "keepIoTypes">;
  /** Inputs for LoRA and DoRA adapters that are swapped at run time; default none. true: with the defaults. */
  readonly adapterSlots?: boolean | AdapterSlotsOptions;
}

/** A model file to be written. */
export interface PlannedGraph {
  readonly dtype: ExportDType;
  readonly graph: GraphName;
  /** Name inside the folder of graphs: "model_q4.onnx". */
  readonly file: string;
  /** Weights are read, cast and quantized one at a time when it is written. */
  readonly model: OnnxModel;
  /** Filled as it is written: what quantizing did to each weight. */
  readonly weights: readonly TensorReport[];
  /** Filled as it is written: values of float16 weights that were beyond its range. */
  readonly clamped: Clamped;
}

/** Everything that an export writes, decided before any weight is read. */
export interface ExportPlan {
  readonly target: ExportTarget;
  readonly family: string;
  readonly task: Task;
  /** Where the model files go: "onnx", or "" beside config.json. */
  readonly graphFolder: "onnx" | "";
  /** Model files: one for each dtype, or where the model is several graphs one for each of both. */
  readonly graphs: readonly PlannedGraph[];
  /** Files beside config.json and the graphs. */
  readonly companions: ReadonlyMap<string, CompanionFile>;
  /** Text of config.json, given how many files of external data each model file has, by its name. */
  config(externalFiles: ReadonlyMap<string, number>): string;
  /** Where adapters are fed, where they were asked for; also among `companions`. */
  readonly slots?: AdapterSlots;
  readonly warnings: readonly ExportWarning[];
}

const defaultDTypes: readonly ExportDType[] = ["fp32", "q8", "q4"];

/**
 * Plans the folder that the target's runtime loads: graphs, config.json, tokenizer and processor files. Throws what
 * `buildModel` throws, `INVALID_OPTION`, `UNSUPPORTED_TARGET`.
 */
export async function planExport(folder: ModelFolder, options: ExportOptions = {}): Promise<ExportPlan> {
  const target = checkTarget(options.target ?? "transformers.js");
  const genai = target === "genai";
  const dtypes = checkDTypes(options.dtypes ?? (genai ? ["q4"] : defaultDTypes));
  if (dtypes.length === 0) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "nothing to export",
      option: "dtypes",
      expected: `some of ${Object.keys(exportDTypes).join(", ")}`,
      found: "an empty list",
    });
  }
  const task = options.task ?? defaultTask(folder);
  if (genai) checkForGenai(familyOf(folder).name, task, dtypes, options);
  const sentence = task === "feature-extraction" ? await sentencePooling(folder) : { warnings: [] };
  const floats = floatGraphs(folder, task, {
    ...options,
    cacheDtype: options.cacheDtype ?? (genai ? "float16" : undefined),
    pooling: options.pooling ?? sentence.pooling,
  });
  const graphs: PlannedGraph[] = [];
  const slotted: [GraphName, SlottedModel][] = [];
  const slotOptions = options.adapterSlots === true ? {} : options.adapterSlots || undefined;
  let family = "";
  for (const dtype of dtypes) {
    const facts = exportDTypes[dtype];
    const built = await floats(facts.graph, facts.tiedHead, facts.packs && mayPack(options));
    family = built.family;
    for (const [graph, plain] of built.models) {
      const withSlots = slotOptions && addAdapterSlots(plain, graph, slotOptions);
      if (withSlots !== undefined) slotted.push([graph, withSlots]);
      const model = withSlots?.model ?? plain;
      const weights: TensorReport[] = [];
      const tables = options.quantize?.embeddings ?? (genai ? "tied" : false);
      const settings = {
        ...options.quantize,
        embeddings: tables,
        onTensor: (each: TensorReport) => void weights.push(each),
      };
      const file = genai ? "model.onnx" : modelFileName(dtype, graph);
      const written = quantized(model, dtype, settings);
      const half = genai && options.cacheDtype !== "float32";
      const clamped: Clamped = new Map();
      const ranged = withinFloat16(half ? halfLogits(written) : written, clamped);
      graphs.push({ dtype, graph, file, model: ranged, weights, clamped });
    }
  }
  const { files, warnings } = await companionsFor(folder, task, target);
  if (genai)
    files.set("genai_config.json", { text: await genaiSettings(folder, family, task, graphs[0], options.devices) });
  const modules = slotted.map(([graph, each]) => [graph, each.modules] as const);
  const slots = slotOptions === undefined ? undefined : joinSlots(modules, slotOptions);
  if (slots !== undefined) files.set(slotsFile, { text: toJson(slots) });
  const labels = task.endsWith("classification") ? labelCount(graphs) : undefined;
  const encoderDecoder = graphs.some(({ graph }) => graph === "decoder_model_merged");
  return {
    target,
    family,
    task,
    graphFolder: genai ? "" : "onnx",
    graphs,
    companions: files,
    config: (externalFiles) =>
      genai
        ? toJson(folder.config ?? {})
        : exportedConfig(folder.config ?? {}, { dtypes, externalFiles, labels, encoderDecoder }),
    slots,
    warnings: [
      ...warnings,
      ...sentence.warnings,
      ...withoutSlot(slotted),
      ...(genai ? [] : dtypes.flatMap((dtype) => slowOrMissing(dtype, graphs, options.devices))),
    ],
  };
}

/** What a folder of onnxruntime-genai cannot be. Throws `UNSUPPORTED_TARGET`, `INVALID_OPTION`. */
function checkForGenai(family: string, task: Task, dtypes: readonly ExportDType[], options: ExportOptions): void {
  genaiType(family, task);
  if (dtypes.length > 1) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "a folder of onnxruntime-genai holds one model file",
      option: "dtypes",
      expected: "one dtype",
      found: dtypes.join(", "),
    });
  }
  if (options.logitsToKeep) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "onnxruntime-genai does not feed num_logits_to_keep, which is a required input",
      option: "logitsToKeep",
      fix: 'Leave the option out, or export with the target "transformers.js".',
    });
  }
  if (options.adapterSlots) {
    throw new LoomweightError({
      code: "INVALID_OPTION",
      problem: "onnxruntime-genai does not feed adapter slots, which are required inputs",
      option: "adapterSlots",
      fix: 'Fold the adapter into the weights, or export with the target "transformers.js".',
    });
  }
}

/** onnxruntime-genai's names of execution providers, as its builder spells them; its CPU's is none. */
const genaiProviders: Readonly<Partial<Record<Device, string>>> = { webgpu: "webgpu", cuda: "cuda" };

async function genaiSettings(
  folder: ModelFolder,
  family: string,
  task: Task,
  graph: PlannedGraph,
  devices: readonly Device[] = [],
): Promise<string> {
  // a folder for several devices must open where only one of them is
  const provider = devices.length === 1 ? genaiProviders[devices[0]] : undefined;
  const stated = folder.files.has("generation_config.json") ? await folder.readJson("generation_config.json") : {};
  return genaiConfig({
    type: genaiType(family, task),
    filename: graph.file,
    model: graph.model,
    config: folder.config ?? {},
    generation: stated,
    configFile: `${folder.location}/config.json`,
    providers: provider === undefined ? [] : [provider],
  });
}

/** What `architectures` names; a folder of sentence-transformers is for features, whatever class its base model had. */
function defaultTask(folder: ModelFolder): Task {
  const features = folder.files.has("modules.json") && familyOf(folder).tasks.includes("feature-extraction");
  return features ? "feature-extraction" : detectTask(folder);
}

/** Whether layers of one input may become one: not where they are told apart by name. */
function mayPack({ packed = true, adapterSlots, quantize = {} }: ExportOptions): boolean {
  const { include, exclude, eightBits, rules } = quantize;
  const named = [include, exclude, eightBits, rules].some((list) => list !== undefined && list.length > 0);
  return packed && !adapterSlots && !named;
}

/** Float graphs by dtype, kind of head and whether they are packed, each built once. */
function floatGraphs(folder: ModelFolder, task: Task, options: ExportOptions) {
  const { fuse, devices, cacheDtype, ignoreConfig, ignoreTensors, pooling, logitsToKeep, batchSize } = options;
  const built = new Map<string, ReturnType<typeof buildModel>>();
  return (dtype: "float32" | "float16", tiedHead: TiedHead, packed: boolean) => {
    const key = `${dtype} ${tiedHead} ${packed}`;
    const cache = dtype === "float16" ? cacheDtype : undefined;
    const graph =
      built.get(key) ??
      buildModel(folder, task, {
        dtype,
        tiedHead,
        fuse,
        devices,
        cacheDtype: cache,
        ignoreConfig,
        ignoreTensors,
        pooling,
        logitsToKeep,
        batchSize,
        packed,
      });
    built.set(key, graph);
    return graph;
  };
}

/** Quantizes a float graph. Half precision is built, not converted: angles and sums stay in float32 where they must. */
function quantized(model: OnnxModel, dtype: ExportDType, options: QuantizeModelOptions): OnnxModel {
  const settings = { accuracyLevel: 4, ...options } as const;
  if (dtype === "fp32" || dtype === "fp16") return model;
  if (dtype === "q4f16") return quantizeWeightOnly(model, { bits: 4, ...settings });
  return quantizeModel(model, dtype, settings);
}

/** Size of the last axis of `logits`. */
function labelCount([first]: readonly PlannedGraph[]): number | undefined {
  const size = first.model.graph.outputs.find(({ name }) => name === "logits")?.shape?.at(-1);
  return typeof size === "number" ? size : undefined;
}

/** What devices asked for (default all) do badly. */
function slowOrMissing(
  dtype: ExportDType,
  graphs: readonly PlannedGraph[],
  devices: readonly Device[] | undefined,
): ExportWarning[] {
  const file = graphs.find((each) => each.dtype === dtype)?.file;
  if (file === undefined) return [];
  if (devices?.includes("webgpu") && ["q8", "int8", "uint8"].includes(dtype)) {
    return [
      {
        code: "NO_WEBGPU_KERNEL",
        file: `onnx/${file}`,
        message: `${dtype} quantizes activations while it runs, for which WebGPU has no kernels: its products run on the CPU. Export q4 or fp16 for it.`,
      },
    ];
  }
  if (!exportDTypes[dtype].blocks || devices?.includes("wasm") === false) return [];
  return [
    {
      code: "SLOW_ON_WASM",
      file: `onnx/${file}`,
      message: `${dtype} runs fast on Node's CPU and on WebGPU; on WebAssembly its 4-bit products are several times slower than float: export q8 for it.`,
    },
  ];
}

function withoutSlot(slotted: readonly (readonly [GraphName, SlottedModel])[]): ExportWarning[] {
  const skipped = [...new Set(slotted.flatMap(([, each]) => each.skipped))];
  if (skipped.length === 0) return [];
  return [
    {
      code: "LAYER_WITHOUT_SLOT",
      message: `${skipped.length} linear layers whose input does not begin with the batch have no adapter slot: ${skipped.slice(0, 3).join(", ")}${skipped.length > 3 ? ", …" : ""}. The layout "single" serves them.`,
    },
  ];
}
