import { checkModel, type OnnxGraph, type OnnxModel, subgraphsOf, type ValueInfo } from "@loomweight/graph";
import { LoomweightError } from "@loomweight/tensor";
import { caution, type Finding, fault } from "./finding.ts";

/** Inputs whose dtype and rank every runtime of these models relies on. */
const knownInputs: Readonly<Record<string, { dtypes: readonly string[]; rank: number; open: readonly number[] }>> = {
  input_ids: { dtypes: ["int64", "int32"], rank: 2, open: [0, 1] },
  attention_mask: { dtypes: ["int64", "int32"], rank: 2, open: [0, 1] },
  token_type_ids: { dtypes: ["int64", "int32"], rank: 2, open: [0, 1] },
  position_ids: { dtypes: ["int64", "int32"], rank: 2, open: [0, 1] },
  num_logits_to_keep: { dtypes: ["int64"], rank: 0, open: [] },
  encoder_attention_mask: { dtypes: ["int64", "int32"], rank: 2, open: [0, 1] },
  encoder_hidden_states: { dtypes: ["float32", "float16"], rank: 3, open: [0] },
  inputs_embeds: { dtypes: ["float32", "float16"], rank: 3, open: [0, 1] },
  pixel_values: { dtypes: ["float32", "float16"], rank: 4, open: [0] },
  input_features: { dtypes: ["float32", "float16"], rank: 3, open: [0] },
};

const cacheInput = /^past_key_values\.(\d+)\.((?:decoder\.|encoder\.)?(?:key|value))$/;

/**
 * Whether a graph is well formed (as ONNX's checker asks) and has the inputs and outputs that transformers.js feeds and
 * reads: dtypes, ranks, open axes; of a cache, a `present.*` output for each `past_key_values.*` input, no layer left
 * out, and numbers where transformers.js makes an empty cache from them (it takes a symbol as 0; onnxruntime-genai does
 * not look).
 */
export function checkGraph(model: OnnxModel, { genai = false } = {}): Finding[] {
  const findings: Finding[] = [];
  try {
    checkModel(model);
  } catch (cause) {
    if (!(cause instanceof LoomweightError)) throw cause;
    findings.push(fault(cause.code, cause.message));
  }
  const { initializers, outputs } = model.graph;
  const inputs = model.graph.inputs.filter(({ name }) => !initializers.has(name));
  // a decoder may be made for one conversation: its cache says so, too
  const caches = inputs.filter(({ name }) => cacheInput.test(name));
  const oneRow = caches.length > 0 && caches.every(({ shape }) => shape?.[0] === 1);
  for (const input of inputs) findings.push(...checkInput(input, oneRow));
  findings.push(...checkCache(inputs, outputs, genai));
  const double = genai ? undefined : float64In(model.graph);
  if (double !== undefined) {
    const who = "onnxruntime-web's build for WebGPU, which transformers.js runs in pages, has no kernel for it";
    findings.push(caution("FLOAT64", `"${double}" is float64: ${who}, on WebAssembly either`));
  }
  for (const { name, dtype } of outputs) {
    if (dtype === "bfloat16") {
      findings.push(fault("OUTPUT_DTYPE", `the output ${name} is bfloat16, which JavaScript cannot read`));
    }
  }
  return findings;
}

/** Name of a weight, or of a node that casts, of float64. */
function float64In({ initializers, nodes }: OnnxGraph): string | undefined {
  for (const { name, dtype } of initializers.values()) if (dtype === "float64") return name;
  for (const node of nodes) {
    const { to } = node.attributes;
    if (node.op === "Cast" && to?.type === "int" && Number(to.value) === onnxDouble) return node.name;
    for (const body of subgraphsOf(node)) {
      const found = float64In(body);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

/** ONNX's number for float64. */
const onnxDouble = 11;

function checkInput({ name, dtype, shape }: ValueInfo, oneRow: boolean): Finding[] {
  const findings: Finding[] = [];
  if (dtype === "bfloat16")
    findings.push(fault("INPUT_DTYPE", `the input ${name} is bfloat16, which JavaScript cannot make`));
  if (!Object.hasOwn(knownInputs, name)) return findings;
  const { dtypes, rank, open } = knownInputs[name];
  if (dtype !== undefined && dtype !== "bfloat16" && !dtypes.includes(dtype)) {
    findings.push(fault("INPUT_DTYPE", `the input ${name} is ${dtype}, expected ${dtypes.join(" or ")}`));
  }
  if (shape === undefined) return findings;
  if (shape.length !== rank) {
    findings.push(fault("INPUT_RANK", `the input ${name} has the shape [${shape.join(", ")}], expected ${rank} axes`));
    return findings;
  }
  for (const axis of open) {
    if (typeof shape[axis] !== "number") continue;
    if (oneRow && axis === 0 && shape[axis] === 1) {
      findings.push(caution("FIXED_AXIS", `the input ${name} takes a single row`));
      continue;
    }
    findings.push(
      fault("FIXED_AXIS", `axis ${axis} of the input ${name} is fixed to ${shape[axis]}: other sizes fail`),
    );
  }
  return findings;
}

function checkCache(inputs: readonly ValueInfo[], outputs: readonly ValueInfo[], genai: boolean): Finding[] {
  const findings: Finding[] = [];
  const made = new Map(outputs.map((output) => [output.name, output]));
  const byPart = new Map<string, Set<number>>();
  for (const { name, dtype, shape } of inputs) {
    const match = cacheInput.exec(name);
    if (match === null) continue;
    const [, layer, part] = match;
    byPart.set(part, (byPart.get(part) ?? new Set()).add(Number(layer)));
    const present = made.get(`present.${layer}.${part}`);
    if (present === undefined) {
      findings.push(fault("CACHE_NAMES", `there is no output present.${layer}.${part} for the input ${name}`));
    } else if (present.dtype !== dtype) {
      findings.push(fault("CACHE_DTYPE", `${name} is ${dtype}, but ${present.name} is ${present.dtype}`));
    }
    if (shape === undefined || genai) continue;
    if (shape.length !== 4 || typeof shape[1] !== "number" || typeof shape[3] !== "number") {
      findings.push(
        fault(
          "CACHE_SHAPE",
          `the input ${name} has the shape [${shape.join(", ")}], expected [batch, heads, past, size] with numbers for heads and size`,
        ),
      );
    }
  }
  for (const [part, layers] of byPart) {
    const count = Math.max(...layers) + 1;
    if (layers.size === count) continue;
    findings.push(
      fault("CACHE_NAMES", `the cache's ${part} has ${layers.size} layers, but the last is number ${count - 1}`),
    );
  }
  return findings;
}
