import { add, cast, concat, cos, mul, sin, split, sub, unsqueeze, type Value } from "@loomweight/graph";
import { fromData, type Tensor } from "@loomweight/tensor";
import { type ConfigReader, readConfigFields } from "../config-reader.ts";
import type { ComputeDType } from "../weights.ts";

/** How positions turn into angles. */
export type Rope =
  | { readonly type: "default"; readonly theta: number }
  | { readonly type: "linear"; readonly theta: number; readonly factor: number }
  | {
      readonly type: "llama3";
      readonly theta: number;
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalPositions: number;
    };

const ropeTypes = ["default", "linear", "llama3"];

/**
 * Reads either spelling: `rope_theta` beside `rope_scaling` (transformers 4), or both inside `rope_parameters`
 * (transformers 5). Throws `INVALID_CONFIG` for other rope types, for contradictions and for unknown fields.
 */
export function readRope(config: ConfigReader, defaultTheta: number): Rope {
  const scaling = config.nested("rope_scaling");
  const parameters = config.nested("rope_parameters");
  if (scaling !== undefined && parameters !== undefined) {
    throw config.refuse("rope_scaling", "absent, since rope_parameters is there", "Keep one of the two spellings.");
  }
  const fields = parameters ?? scaling ?? readConfigFields({}, config.file);
  const outer = config.has("rope_theta") ? config.number("rope_theta") : undefined;
  const theta = fields.has("rope_theta") ? fields.number("rope_theta") : (outer ?? defaultTheta);
  if (outer !== undefined && outer !== theta) {
    throw config.refuse("rope_theta", `${theta}, as rope_parameters says`, "Keep one of the two.");
  }
  const rope = readRopeType(config, fields, theta);
  for (const each of [config, fields]) each.only("partial_rotary_factor", [1], "this family rotates whole heads");
  config.only("rope_interleaved", [false], "heads are turned by halves");
  fields.finish(new Set());
  return rope;
}

function readRopeType(config: ConfigReader, fields: ConfigReader, theta: number): Rope {
  const spelled = fields.has("rope_type") ? "rope_type" : "type";
  const type = fields.text(spelled) ?? "default";
  if (fields.has("rope_type") && fields.has("type") && fields.text("type") !== type) {
    throw fields.refuse("type", `"${type}", as rope_type says`);
  }
  if (!ropeTypes.includes(type)) {
    throw fields.refuse(spelled, `one of ${ropeTypes.join(", ")}`, "Other kinds of rope scaling are not built yet.");
  }
  if (type === "default") return { type, theta };
  const factor = fields.number("factor", { min: 1 });
  if (type === "linear") return { type, theta, factor };
  const lowFrequencyFactor = fields.number("low_freq_factor");
  const highFrequencyFactor = fields.number("high_freq_factor");
  if (highFrequencyFactor <= lowFrequencyFactor) {
    throw fields.refuse("high_freq_factor", `a number above low_freq_factor (${lowFrequencyFactor})`);
  }
  const originalPositions = fields.size("original_max_position_embeddings", {
    default: config.has("max_position_embeddings") ? config.size("max_position_embeddings") : undefined,
  });
  return { type: "llama3", theta, factor, lowFrequencyFactor, highFrequencyFactor, originalPositions };
}

/**
 * Angle per position of each pair of a head: theta^(−2i / size), then scaled. Rounded to float32 at each step, as the
 * reference does: at position 10⁵ a last bit here is 0.006 radians.
 * Source: Su et al. 2021, arXiv:2104.09864; llama3 scaling: Llama 3.1, as in transformers' modeling_rope_utils.
 */
export function inverseFrequencies(rope: Rope, size: number): Float32Array {
  const frequencies = Float32Array.from({ length: size / 2 }, (_, i) => {
    return 1 / Math.fround(rope.theta ** Math.fround((2 * i) / size));
  });
  if (rope.type === "default") return frequencies;
  if (rope.type === "linear") return frequencies.map((frequency) => frequency / rope.factor);
  const { factor, lowFrequencyFactor: low, highFrequencyFactor: high, originalPositions } = rope;
  return frequencies.map((frequency) => {
    const wavelength = Math.fround((2 * Math.PI) / frequency);
    if (wavelength < originalPositions / high) return frequency;
    if (wavelength > originalPositions / low) return frequency / factor;
    const share = Math.fround(Math.fround(Math.fround(originalPositions / wavelength) - low) / (high - low));
    return Math.fround(((1 - share) * frequency) / factor) + Math.fround(share * frequency);
  });
}

/** Cosines and sines of the angles at the positions of a batch: [batch, sequence, 1, headDim / 2] each. */
export interface Rotation {
  readonly cos: Value;
  readonly sin: Value;
}

/** Angles are computed in float32, whatever the graph computes in: half precision cannot hold a position times a frequency. */
export function rotationAt(positionIds: Value, rope: Rope, headDim: number, dtype: ComputeDType): Rotation {
  const frequencies: Tensor<"float32"> = fromData("float32", inverseFrequencies(rope, headDim), [headDim / 2]);
  const angles = mul(unsqueeze(cast(positionIds, "float32"), [2, 3]), frequencies);
  return { cos: cast(cos(angles), dtype), sin: cast(sin(angles), dtype) };
}

/** Turns x [batch, sequence, heads, headDim] by halves: element i with i + headDim / 2. */
export function rotate(x: Value, { cos, sin }: Rotation): Value {
  const [first, second] = split(x, 2, -1);
  return concat([sub(mul(first, cos), mul(second, sin)), add(mul(second, cos), mul(first, sin))], -1);
}
