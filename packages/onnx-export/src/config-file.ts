import { toJson } from "./companions.ts";
import type { ExportDType } from "./dtypes.ts";

/** Order in which a dtype is preferred when the ones that transformers.js asks for by default were not exported. */
const preference: readonly ExportDType[] = ["fp32", "q8", "q4", "fp16", "q4f16", "int8", "uint8", "bnb4"]; // not bf16: transformers.js has no such name

export interface ConfigFileOptions {
  readonly dtypes: readonly ExportDType[];
  /** Number of external data files by name of the model file, for those that have any. */
  readonly externalFiles: ReadonlyMap<string, number>;
  /** Number of labels of a classifier; undefined for other tasks. */
  readonly labels: number | undefined;
  /** Whether the export is an encoder and a decoder. */
  readonly encoderDecoder: boolean;
}

/**
 * config.json of an export: the model's own, with what transformers.js needs under `transformers.js_config`. Which files
 * have external data must be said there for browsers; a dtype is named where the defaults (q8 on WebAssembly, fp32
 * elsewhere) were not exported. Label names are filled in as LABEL_0, LABEL_1, … where they are missing.
 */
export function exportedConfig(config: Readonly<Record<string, unknown>>, options: ConfigFileOptions): string {
  const { dtypes, externalFiles, labels, encoderDecoder } = options;
  const { "transformers.js_config": _, ...kept } = config;
  const settings: Record<string, unknown> = {};
  if (!dtypes.includes("fp32") || !dtypes.includes("q8")) {
    settings.dtype = preference.find((dtype) => dtypes.includes(dtype));
  }
  if (externalFiles.size > 0) {
    settings.use_external_data_format = Object.fromEntries(externalFiles);
  }
  const names = labels !== undefined && kept.id2label == null ? labelNames(labels) : {};
  const extra = Object.keys(settings).length > 0 ? { "transformers.js_config": settings } : {};
  return toJson({ ...kept, ...decoderFields(kept, encoderDecoder), ...names, ...extra });
}

/** What transformers.js reads of an encoder–decoder and files may leave to defaults. */
function decoderFields(config: Readonly<Record<string, unknown>>, encoderDecoder: boolean): Record<string, unknown> {
  if (!encoderDecoder) return {};
  const layers = config.num_decoder_layers == null && config.num_layers != null;
  return {
    ...(config.is_encoder_decoder === true ? {} : { is_encoder_decoder: true }),
    ...(layers ? { num_decoder_layers: config.num_layers } : {}),
  };
}

function labelNames(count: number): { id2label: Record<string, string>; label2id: Record<string, number> } {
  const ids = Array.from({ length: count }, (_, id) => id);
  return {
    id2label: Object.fromEntries(ids.map((id) => [id, `LABEL_${id}`])),
    label2id: Object.fromEntries(ids.map((id) => [`LABEL_${id}`, id])),
  };
}
