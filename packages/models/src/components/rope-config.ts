import { type ConfigReader, readConfigFields } from "../config-reader.ts";

/** How the frequencies of a head are stretched for contexts longer than the trained one. */
export type RopeScaling =
  | { readonly type: "default" }
  | { readonly type: "linear"; readonly factor: number }
  /** From `maxPositions` on the base grows with the length of what is read. */
  | { readonly type: "dynamic"; readonly factor: number; readonly maxPositions: number }
  | {
      readonly type: "llama3";
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalPositions: number;
    }
  | {
      readonly type: "yarn";
      readonly factor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly originalPositions: number;
      /** Ends of the ramp at whole dimensions. */
      readonly truncate: boolean;
      /** Multiplies cosines and sines. */
      readonly attentionFactor: number;
    }
  | {
      readonly type: "longrope";
      /** One divisor per frequency, up to `originalPositions` tokens and beyond. */
      readonly shortFactor: readonly number[];
      readonly longFactor: readonly number[];
      readonly originalPositions: number;
      /** Multiplies cosines and sines. */
      readonly attentionFactor: number;
    };

/** How positions turn into angles. */
export type Rope = RopeScaling & {
  readonly theta: number;
  /** Share of each head that turns. */
  readonly partial: number;
};

export interface RopeDefaults {
  readonly theta: number;
  /** Default share of a head that turns, in families that turn a part of it; left out: whole heads, nothing else. */
  readonly partial?: number;
  /** Default "rope_theta". */
  readonly thetaField?: string;
  /** Default "partial_rotary_factor". */
  readonly partialField?: string;
  /** Other names of rope types: { su: "longrope" }. */
  readonly aliases?: Readonly<Record<string, string>>;
}

const ropeTypes = ["default", "linear", "dynamic", "llama3", "yarn", "longrope"];

/**
 * Reads either spelling: `rope_theta` beside `rope_scaling` (transformers 4), or both inside `rope_parameters`
 * (transformers 5). Throws `INVALID_CONFIG` for other rope types, for contradictions and for unknown fields.
 */
export function readRope(config: ConfigReader, defaults: RopeDefaults): Rope {
  const scaling = config.nested("rope_scaling");
  const parameters = config.nested("rope_parameters");
  if (scaling !== undefined && parameters !== undefined) {
    throw config.refuse("rope_scaling", "absent, since rope_parameters is there", "Keep one of the two spellings.");
  }
  return readRopeFields(config, parameters ?? scaling ?? readConfigFields({}, config.file), defaults);
}

/** The rope of one kind of layers, whose own fields are `fields`; `config` is the whole file. */
export function readRopeFields(config: ConfigReader, fields: ConfigReader, defaults: RopeDefaults): Rope {
  const { thetaField = "rope_theta", partialField = "partial_rotary_factor" } = defaults;
  const statedOnce = (field: string, outerField: string): number | undefined => {
    const outer = config.has(outerField) ? config.number(outerField) : undefined;
    const stated = fields.has(field) ? fields.number(field) : outer;
    if (outer === undefined || outer === stated) return stated;
    throw config.refuse(outerField, `${stated}, as rope_parameters says`, "Keep one of the two.");
  };
  const theta = statedOnce("rope_theta", thetaField) ?? defaults.theta;
  if (defaults.partial === undefined) {
    for (const each of [config, fields]) each.only("partial_rotary_factor", [1], "this family rotates whole heads");
  }
  const partial = statedOnce("partial_rotary_factor", partialField) ?? defaults.partial ?? 1;
  if (partial > 1) throw config.refuse(partialField, "at most 1");
  config.only("rope_interleaved", [false], "heads are turned by halves");
  const rope = { ...readScaling(config, fields, defaults.aliases ?? {}), theta, partial };
  fields.finish(new Set());
  return rope;
}

function readScaling(
  config: ConfigReader,
  fields: ConfigReader,
  aliases: Readonly<Record<string, string>>,
): RopeScaling {
  const spelled = fields.has("rope_type") ? "rope_type" : "type";
  const named = fields.text(spelled) ?? "default";
  if (fields.has("rope_type") && fields.has("type") && fields.text("type") !== named) {
    throw fields.refuse("type", `"${named}", as rope_type says`);
  }
  const type = Object.hasOwn(aliases, named) ? aliases[named] : named;
  if (!ropeTypes.includes(type)) throw fields.refuse(spelled, `one of ${ropeTypes.join(", ")}`);
  if (type === "default") {
    fields.value("original_max_position_embeddings"); // stated by files that scale at other lengths; no use here
    return { type };
  }
  if (type === "linear") return { type, factor: fields.number("factor", { min: 1 }) };
  if (type === "dynamic") {
    return {
      type,
      factor: fields.number("factor", { min: 1 }),
      maxPositions: config.size("max_position_embeddings", { max: 2 ** 40 }),
    };
  }
  const originalPositions = readOriginalPositions(config, fields);
  if (type === "llama3") return { type, ...readLlama3(fields), originalPositions };
  if (type === "yarn") return { type, ...readYarn(config, fields, originalPositions), originalPositions };
  return { type: "longrope", ...readLongrope(config, fields, originalPositions), originalPositions };
}

/** The trained length; a field beside the rope's own fields counts first, as in the reference. */
function readOriginalPositions(config: ConfigReader, fields: ConfigReader): number {
  const field = "original_max_position_embeddings";
  const inner = fields.has(field) ? fields.size(field) : undefined;
  if (config.has(field)) return config.size(field);
  return inner ?? config.size("max_position_embeddings");
}

function readLlama3(fields: ConfigReader) {
  const lowFrequencyFactor = fields.number("low_freq_factor");
  const highFrequencyFactor = fields.number("high_freq_factor");
  if (highFrequencyFactor <= lowFrequencyFactor) {
    throw fields.refuse("high_freq_factor", `a number above low_freq_factor (${lowFrequencyFactor})`);
  }
  return { factor: fields.number("factor", { min: 1 }), lowFrequencyFactor, highFrequencyFactor };
}

function readYarn(config: ConfigReader, fields: ConfigReader, originalPositions: number) {
  const factor = readFactor(config, fields, originalPositions);
  const [mscale, mscaleAllDim] = ["mscale", "mscale_all_dim"].map((field) =>
    fields.has(field) ? fields.number(field, { min: 0 }) : 0,
  );
  const grown = (share: number) => (factor <= 1 ? 1 : 0.1 * share * Math.log(factor) + 1);
  const inferred = mscale !== 0 && mscaleAllDim !== 0 ? grown(mscale) / grown(mscaleAllDim) : grown(1);
  return {
    factor,
    betaFast: fields.number("beta_fast", { default: 32 }),
    betaSlow: fields.number("beta_slow", { default: 1 }),
    truncate: fields.flag("truncate", true),
    attentionFactor: fields.number("attention_factor", { default: inferred }),
  };
}

function readLongrope(config: ConfigReader, fields: ConfigReader, originalPositions: number) {
  const factor = readFactor(config, fields, originalPositions);
  const inferred = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalPositions));
  return {
    shortFactor: fields.numbers("short_factor"),
    longFactor: fields.numbers("long_factor"),
    attentionFactor: fields.number("attention_factor", { default: inferred }),
  };
}

/** `factor`, or how many times longer than trained the stated context is. */
function readFactor(config: ConfigReader, fields: ConfigReader, originalPositions: number): number {
  if (fields.has("factor")) return fields.number("factor", { min: 1 });
  return config.size("max_position_embeddings", { max: 2 ** 40 }) / originalPositions;
}
