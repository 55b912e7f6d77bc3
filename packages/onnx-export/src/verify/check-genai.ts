import type { OnnxModel } from "@loomweight/graph";
import { type Finding, fault } from "./finding.ts";

type Json = Readonly<Record<string, unknown>>;

/** Name of the file that makes a folder one of onnxruntime-genai. */
export const genaiConfigFile = "genai_config.json";

/** `model.decoder` of a genai_config.json, empty where it is not there. */
export function genaiDecoder(settings: Json): Json {
  return objectIn(objectIn(settings, "model"), "decoder");
}

/** What config.json would say of a decoder, from genai_config.json: such folders need no config.json. */
export function configOfGenai(settings: Json): Json {
  const { num_attention_heads, num_key_value_heads, head_size, hidden_size } = genaiDecoder(settings);
  const { vocab_size, type } = objectIn(settings, "model");
  return { model_type: type, vocab_size, num_attention_heads, num_key_value_heads, head_dim: head_size, hidden_size };
}

/** Whether the inputs, outputs and sizes that genai_config.json names are those of its graph. */
export function checkGenaiGraph({ graph }: OnnxModel, settings: Json): Finding[] {
  const decoder = genaiDecoder(settings);
  const findings: Finding[] = [];
  const sides = { inputs: graph.inputs, outputs: graph.outputs };
  const layers = Number(decoder.num_hidden_layers);
  for (const [side, values] of Object.entries(sides)) {
    const known = new Set(values.map(({ name }) => name));
    for (const [what, pattern] of Object.entries(objectIn(decoder, side))) {
      if (typeof pattern !== "string") continue;
      const names = pattern.includes("%d")
        ? [0, layers - 1].map((layer) => pattern.replace("%d", `${layer}`))
        : [pattern];
      for (const name of new Set(names)) {
        if (known.has(name)) continue;
        findings.push(
          fault("GENAI_NAMES", `${genaiConfigFile} names "${name}" (${side}.${what}), which the graph has not`),
        );
      }
    }
  }
  const caches = graph.inputs.filter(({ name }) => /^past_key_values\.\d+\.key$/.test(name));
  if (caches.length > 0 && caches.length !== layers) {
    findings.push(
      fault("GENAI_SIZES", `${genaiConfigFile} says ${layers} layers, and the graph has a cache of ${caches.length}`),
    );
  }
  const [, heads, , size] = caches[0]?.shape ?? [];
  for (const [field, found] of Object.entries({ num_key_value_heads: heads, head_size: size })) {
    if (typeof found !== "number" || found === decoder[field]) continue;
    findings.push(
      fault("GENAI_SIZES", `${genaiConfigFile} says ${field} ${decoder[field]}, and the graph has ${found}`),
    );
  }
  return findings;
}

/** Whether genai_config.json names a model file that is there. */
export function checkGenaiFolder(settings: Json, graphFiles: ReadonlySet<string>): Finding[] {
  const { filename } = genaiDecoder(settings);
  if (typeof filename === "string" && graphFiles.has(filename)) return [];
  return [
    fault("GENAI_CONFIG", `${genaiConfigFile} names the model file ${JSON.stringify(filename)}, which is not there`),
  ];
}

function objectIn(from: Json, field: string): Json {
  const found = Object.hasOwn(from, field) ? from[field] : undefined;
  return typeof found === "object" && found !== null && !Array.isArray(found) ? (found as Json) : {};
}
