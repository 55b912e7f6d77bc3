import type { ModelFolder } from "@loomweight/checkpoint";
import type { OnnxModel } from "@loomweight/graph";
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
import type { ExportWarning } from "./report.ts";
import { sentencePooling } from "./sentence-pooling.ts";
import { type AdapterSlotsOptions, addAdapterSlots, joinSlots, type SlottedModel } from "./slots/add-slots.ts";
import { type AdapterSlots, slotsFile } from "./slots/slots.ts";

export interface ExportOptions extends Pick<BuildModelOptions, "ignoreConfig" | "ignoreTensors" | "pooling"> {
  /** Default: what config.json's `architectures` names; feature-extraction for a folder of sentence-transformers. */
  readonly task?: Task;
  /** Kinds of weights, one model file each; default fp32, q8 and q4. */
  readonly dtypes?: readonly ExportDType[];
  /** Which operators graphs may use; default "onnxruntime". */
  readonly fuse?: Fuse;
  /** dtype of cache inputs and outputs in fp16 and q4f16; default "float32", which every version of Node can feed. */
  readonly cacheDtype?: "float32" | "float16";
  /** Settings of the quantizers: include, exclude, blockSize, symmetric, accuracyLevel (default 4), embeddings, perChannel. */
  readonly quantize?: Omit<QuantizeModelOptions, "onTensor" | "keepIoTypes">;
  /** Inputs for LoRA and DoRA adapters that are swapped at run time; default none. true: with the defaults. */
  readonly adapterSlots?: boolean | AdapterSlotsOptions;
}

/** A model file to be written. */
export interface PlannedGraph {
  readonly dtype: ExportDType;
  readonly graph: GraphName;
  /** Name inside `onnx/`: "model_q4.onnx". */
  readonly file: string;
  /** Weights are read, cast and quantized one at a time when it is written. */
  readonly model: OnnxModel;
  /** Filled as it is written: what quantizing did to each weight. */
  readonly weights: readonly TensorReport[];
}

/** Everything that an export writes, decided before any weight is read. */
export interface ExportPlan {
  readonly family: string;
  readonly task: Task;
  /** Model files: one for each dtype, or where the model is several graphs one for each of both. */
  readonly graphs: readonly PlannedGraph[];
  /** Files beside `onnx/`, without config.json. */
  readonly companions: ReadonlyMap<string, CompanionFile>;
  /** Text of config.json, given how many files of external data each model file has, by its name. */
  config(externalFiles: ReadonlyMap<string, number>): string;
  /** Where adapters are fed, where they were asked for; also among `companions`. */
  readonly slots?: AdapterSlots;
  readonly warnings: readonly ExportWarning[];
}

const defaultDTypes: readonly ExportDType[] = ["fp32", "q8", "q4"];

/**
 * Plans the folder that transformers.js loads: graphs, config.json, tokenizer and processor files. Throws what
 * `buildModel` throws, and `INVALID_OPTION`.
 */
export async function planExport(folder: ModelFolder, options: ExportOptions = {}): Promise<ExportPlan> {
  const dtypes = checkDTypes(options.dtypes ?? defaultDTypes);
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
  const sentence = task === "feature-extraction" ? await sentencePooling(folder) : { warnings: [] };
  const floats = floatGraphs(folder, task, { ...options, pooling: options.pooling ?? sentence.pooling });
  const graphs: PlannedGraph[] = [];
  const slotted: [GraphName, SlottedModel][] = [];
  const slotOptions = options.adapterSlots === true ? {} : options.adapterSlots || undefined;
  let family = "";
  for (const dtype of dtypes) {
    const built = await floats(exportDTypes[dtype].graph, exportDTypes[dtype].tiedHead);
    family = built.family;
    for (const [graph, plain] of built.models) {
      const withSlots = slotOptions && addAdapterSlots(plain, graph, slotOptions);
      if (withSlots !== undefined) slotted.push([graph, withSlots]);
      const model = withSlots?.model ?? plain;
      const weights: TensorReport[] = [];
      const settings = { ...options.quantize, onTensor: (each: TensorReport) => void weights.push(each) };
      const file = modelFileName(dtype, graph);
      graphs.push({ dtype, graph, file, model: quantized(model, dtype, settings), weights });
    }
  }
  const { files, warnings } = await companionsFor(folder, task);
  const modules = slotted.map(([graph, each]) => [graph, each.modules] as const);
  const slots = slotOptions === undefined ? undefined : joinSlots(modules, slotOptions);
  if (slots !== undefined) files.set(slotsFile, { text: toJson(slots) });
  const labels = task.endsWith("classification") ? labelCount(graphs) : undefined;
  const encoderDecoder = graphs.some(({ graph }) => graph === "decoder_model_merged");
  return {
    family,
    task,
    graphs,
    companions: files,
    config: (externalFiles) => exportedConfig(folder.config ?? {}, { dtypes, externalFiles, labels, encoderDecoder }),
    slots,
    warnings: [
      ...warnings,
      ...sentence.warnings,
      ...withoutSlot(slotted),
      ...dtypes.flatMap((dtype) => slowOnWasm(dtype, graphs)),
    ],
  };
}

/** What `architectures` names; a folder of sentence-transformers is for features, whatever class its base model had. */
function defaultTask(folder: ModelFolder): Task {
  const features = folder.files.has("modules.json") && familyOf(folder).tasks.includes("feature-extraction");
  return features ? "feature-extraction" : detectTask(folder);
}

/** Float graphs by dtype and kind of head, each built once. */
function floatGraphs(folder: ModelFolder, task: Task, options: ExportOptions) {
  const { fuse, cacheDtype, ignoreConfig, ignoreTensors, pooling } = options;
  const built = new Map<string, ReturnType<typeof buildModel>>();
  return (dtype: "float32" | "float16", tiedHead: TiedHead) => {
    const key = `${dtype} ${tiedHead}`;
    const cache = dtype === "float16" ? cacheDtype : undefined;
    const graph =
      built.get(key) ??
      buildModel(folder, task, {
        dtype,
        tiedHead,
        fuse,
        cacheDtype: cache,
        ignoreConfig,
        ignoreTensors,
        pooling,
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

function slowOnWasm(dtype: ExportDType, graphs: readonly PlannedGraph[]): ExportWarning[] {
  const file = graphs.find((each) => each.dtype === dtype)?.file;
  if (!exportDTypes[dtype].blocks || file === undefined) return [];
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
