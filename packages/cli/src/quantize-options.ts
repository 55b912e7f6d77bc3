import { type Command, InvalidArgumentError, Option } from "commander";
import { parseCount, parseList, parseSize } from "./parse.ts";

const mixedPresets = ["head", "ends", "k-mixed"] as const;
const blockFormats = ["matMulNBits", "qdq"] as const;
const bnb4Types = ["nf4", "fp4"] as const;

/** What `export` and `quantize` are told about quantizing. */
export interface QuantizeSettingFlags {
  readonly blockSize?: number;
  readonly asymmetric?: boolean;
  readonly accuracyLevel?: 0 | 1 | 2 | 3 | 4;
  readonly embeddings?: boolean;
  readonly mixed?: (typeof mixedPresets)[number];
  readonly eightBits?: readonly string[];
  readonly rule?: readonly BlockRuleFlag[];
  readonly format?: (typeof blockFormats)[number];
  readonly bnb4Type?: (typeof bnb4Types)[number];
  readonly perChannel?: boolean;
  readonly reduceRange?: boolean;
  readonly include?: readonly string[];
  readonly exclude?: readonly string[];
  readonly externalData?: boolean;
  readonly externalSize?: number;
}

/** One `--rule REGEX=BITS`. */
export interface BlockRuleFlag {
  readonly match: RegExp;
  readonly bits: 2 | 4 | 8 | "float";
}

/** Adds the options to a command. */
export function addQuantizeOptions(command: Command): Command {
  const oneOf = (flags: string, description: string, choices: readonly string[]) =>
    new Option(flags, description).choices(choices);
  return command
    .option(
      "--block-size <count>",
      "q4, bnb4: weights that share a scale: 16, 32, … 256 (default: q4 32, bnb4 64)",
      parseCount,
    )
    .option("--asymmetric", "q4: with a zero point for each block")
    .option("--accuracy-level <level>", "q4: 0 to 4; 4 computes in int8, 1 in float32 (default: 4)", parseLevel)
    .option("--embeddings", "q4: embedding tables too; one that the head is tied to is stored once")
    .addOption(
      oneOf(
        "--mixed <preset>",
        "q4: 8 bits for the head; for head, first and last layer (ends); or for what suffers most (k-mixed)",
        mixedPresets,
      ),
    )
    .option("--eight-bits <list>", "q4: nodes or weights to hold in 8 bits, such as *lm_head*", parseList)
    .option(
      "--rule <regex=bits>",
      "q4: 2, 4, 8 or float bits for nodes or weights whose name a regular expression finds; the first that fits",
      (text: string, rules: BlockRuleFlag[] = []) => [...rules, parseRule(text)],
    )
    .addOption(oneOf("--format <format>", "q4: MatMulNBits, or DequantizeLinear in standard ONNX", blockFormats))
    .addOption(oneOf("--bnb4-type <type>", "bnb4: its 16 levels (default: nf4)", bnb4Types))
    .option("--per-channel", "q8, int8, uint8: one scale a column")
    .option("--reduce-range", "q8, int8, uint8: 7-bit weights, for CPUs without VNNI")
    .option("--include <list>", "only these nodes or weights; * stands for any text", parseList)
    .option("--exclude <list>", "all but these", parseList)
    .option("--external-data", "weights outside the model file (default: where they are more than 1.9 GB)")
    .option("--external-size <size>", "largest file of external data, such as 500MB (default: 1.9GB)", parseSize);
}

/** The quantizers' settings, as the packages take them. */
export function quantizeSettings(flags: QuantizeSettingFlags) {
  return {
    blockSize: flags.blockSize,
    symmetric: !flags.asymmetric,
    accuracyLevel: flags.accuracyLevel ?? 4,
    embeddings: flags.embeddings,
    mixed: flags.mixed,
    eightBits: flags.eightBits,
    rules: flags.rule,
    format: flags.format,
    quantType: flags.bnb4Type,
    perChannel: flags.perChannel,
    reduceRange: flags.reduceRange,
    include: flags.include,
    exclude: flags.exclude,
  };
}

function parseLevel(text: string): 0 | 1 | 2 | 3 | 4 {
  if (/^[0-4]$/.test(text)) return Number(text) as 0 | 1 | 2 | 3 | 4;
  throw new InvalidArgumentError("a level from 0 to 4");
}

function parseRule(text: string): BlockRuleFlag {
  const at = text.lastIndexOf("=");
  const bits = text.slice(at + 1);
  if (at <= 0 || !["2", "4", "8", "float"].includes(bits)) {
    throw new InvalidArgumentError("a regular expression, = and 2, 4, 8 or float: 'layers\\.0\\.=8'");
  }
  try {
    return { match: new RegExp(text.slice(0, at)), bits: bits === "float" ? bits : (Number(bits) as 2 | 4 | 8) };
  } catch (cause) {
    throw new InvalidArgumentError(cause instanceof Error ? cause.message : String(cause));
  }
}
