import { checkGenaiFolder } from "./check-genai.ts";
import { graphAndDType, isDataOf } from "./file-names.ts";
import { caution, type Finding, fault } from "./finding.ts";

export interface FolderFacts {
  /** Names of the files beside the graphs' folder. */
  readonly files: ReadonlySet<string>;
  /** Names of the files in the graphs' folder. */
  readonly graphFiles: ReadonlySet<string>;
  readonly config: Readonly<Record<string, unknown>>;
  /** genai_config.json, where there is one: then the folder is onnxruntime-genai's. */
  readonly genai?: Readonly<Record<string, unknown>>;
  /** Names of the inputs of all graphs. */
  readonly inputs: ReadonlySet<string>;
}

/** Whether the runtime finds the files that it asks for, and config.json says what browsers need to know. */
export function checkFolder({ files, graphFiles, config, genai, inputs }: FolderFacts): Finding[] {
  const findings: Finding[] = [];
  if (genai !== undefined) {
    const missing = ["tokenizer.json", "tokenizer_config.json"].filter((name) => !files.has(name));
    const message = (name: string) => `${name} is missing: onnxruntime-genai needs it to turn text into tokens`;
    return [...checkGenaiFolder(genai, graphFiles), ...missing.map((name) => caution("MISSING_FILE", message(name)))];
  }
  if (typeof config.model_type !== "string") findings.push(fault("CONFIG", "config.json names no model_type"));
  const need = (name: string, why: string) => {
    if (!files.has(name)) findings.push(caution("MISSING_FILE", `${name} is missing: transformers.js needs it ${why}`));
  };
  if (inputs.has("input_ids") || inputs.has("decoder_input_ids")) {
    need("tokenizer.json", "to turn text into tokens");
    need("tokenizer_config.json", "to turn text into tokens");
  }
  if ([...inputs].some((name) => name.startsWith("past_key_values."))) need("generation_config.json", "to end a text");
  if (inputs.has("pixel_values")) need("preprocessor_config.json", "to turn images into pixel values");
  if (inputs.has("input_features")) need("preprocessor_config.json", "to turn sound into features");
  return [...findings, ...checkPairs(graphFiles), ...checkExternal(graphFiles, config)];
}

/** An encoder needs its decoder in the same dtype or another, and the other way round. */
function checkPairs(graphFiles: ReadonlySet<string>): Finding[] {
  const graphs = new Set(
    [...graphFiles].filter((name) => name.endsWith(".onnx")).map((name) => graphAndDType(name).graph),
  );
  const decoder = graphs.has("decoder_model_merged") || graphs.has("decoder_model");
  if (decoder && !graphs.has("encoder_model"))
    return [fault("MISSING_GRAPH", "there is a decoder without encoder_model.onnx")];
  if (!graphs.has("encoder_model") || decoder) return [];
  return [fault("MISSING_GRAPH", "there is an encoder without decoder_model_merged.onnx")];
}

/** Browsers load external data only where config.json says how many files there are. */
function checkExternal(graphFiles: ReadonlySet<string>, config: FolderFacts["config"]): Finding[] {
  const settings = (config["transformers.js_config"] ?? {}) as Readonly<Record<string, unknown>>;
  const said = settings.use_external_data_format;
  const findings: Finding[] = [];
  for (const name of graphFiles) {
    if (!name.endsWith(".onnx")) continue;
    const count = [...graphFiles].filter((each) => isDataOf(name, each)).length;
    const perFile = typeof said === "object" && said !== null ? (said as Record<string, unknown>) : {};
    const entry = typeof said === "object" ? (perFile[name] ?? perFile[graphAndDType(name).graph] ?? 0) : (said ?? 0);
    const announced = Number(entry);
    if (announced === count) continue;
    const message = `${name} has ${count} files of external data, and config.json announces ${announced} (use_external_data_format)`;
    findings.push(
      announced > count
        ? fault("EXTERNAL_DATA", message)
        : caution("EXTERNAL_DATA", `${message}: browsers do not load it`),
    );
  }
  return findings;
}
