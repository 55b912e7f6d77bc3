import { add, mul, tile, type Value } from "@loomweight/graph";
import { choice, fromData, integer, LoomweightError, type OptionValues, type Tensor, zeros } from "@loomweight/tensor";
import { defineAdapter } from "../define.ts";
import {
  addLowRank,
  lowRankForward,
  lowRankInit,
  lowRankOptions,
  lowRankScale,
  lowRankShapes,
} from "../maths/low-rank.ts";
import type { Json, PeftConfig } from "../peft/format.ts";
import { loraCompanions, loraFields, lowRankFields, lowRankSuffixes, requirePlainStart } from "../peft/lora-files.ts";

const options = {
  ...lowRankOptions,
  blocks: integer(1, "blocks on the diagonal of a factor; divides the rank and the layer's side", { min: 1 }),
  diagonal: choice(["none", "A", "B"], "B", "which factor is block-diagonal"),
};
type BdLoraOptions = OptionValues<typeof options>;

/**
 * BD-LoRA: LoRA, W′ = W + s · B A, with A or B block-diagonal, so that shards of a served model need not exchange it.
 * Stored are the blocks one below the other: A [rank, in / blocks] or B [out, rank / blocks].
 * Source: PEFT's `use_bdlora`, which names no paper that was read here. Which factor of which module is block-diagonal: a
 * module is one of those whose path holds one of the given texts.
 */
export const bdlora = defineAdapter({
  name: "bdlora",
  source: "github:huggingface/peft",
  scope: "layer",
  kinds: ["linear", "transposedLinear"],
  options,
  params: (layer, given) => {
    const { blocks, diagonal, rank } = given;
    requireDivisor(blocks, rank, "the rank");
    const plain = lowRankShapes(given);
    if (diagonal === "A") {
      requireDivisor(blocks, layer.in, "in");
      return { A: [rank, layer.in / blocks], B: plain.B };
    }
    if (diagonal === "B") {
      requireDivisor(blocks, layer.out, "out");
      return { A: plain.A, B: ["out", rank / blocks] };
    }
    return plain;
  },
  prepared: (_layer, { rank }) => ({ maskA: [rank, "in"], maskB: ["out", rank] }),
  prepare: (layer, _params, { blocks, diagonal, rank }) => {
    if (diagonal === "A") return { maskA: blockMask(rank, layer.in, blocks) };
    if (diagonal === "B") return { maskB: blockMask(layer.out, rank, blocks) };
    return {};
  },
  init: (layer, given, context) => {
    const { blocks, diagonal, rank } = given;
    const { A, B } = lowRankInit(layer, given, context);
    if (diagonal === "B") return { A, B: zeros([layer.out, rank / blocks]) };
    if (diagonal === "none") return { A, B };
    const bound = Math.sqrt(blocks / layer.in);
    return { A: context.random.uniform("A", [rank, layer.in / blocks], -bound, bound), B };
  },
  apply: (layer, params, x, given) =>
    add(layer.forward(x), mul(lowRankForward(layer, factors(params, given), x, given), lowRankScale(given))),
  weight: (layer, params, given) => addLowRank(layer.weight, factors(params, given), lowRankScale(given)),
  additive: true,
  tiling: (layer) => (layer.kind === "linear" ? { out: 1 } : {}),
  files: {
    peftTypes: ["LORA"],
    applies: (config) => config.use_bdlora != null && config.use_dora !== true && config.kasa_config == null,
    fields: loraFields,
    optionFields: lowRankFields,
    readOptions: (config, file) => {
      requirePlainStart(config, file, "BD-LoRA");
      return { blocks: (config.use_bdlora as PeftConfig).nblocks ?? 1 };
    },
    moduleOptions: (config, path) => ({ diagonal: diagonalOf(config.use_bdlora as PeftConfig, path) }),
    writeOptions: ({ blocks }) => ({
      use_bdlora: { match_strict: true, nblocks: blocks, target_modules_bd_a: null, target_modules_bd_b: null },
    }),
    patterns: { rank_pattern: "rank", alpha_pattern: "alpha" },
    suffixes: lowRankSuffixes,
    companions: loraCompanions,
    biasOfAdapted: ["lora_only"],
  },
});

/** The factors with zeros outside their blocks. */
function factors(
  { A, B, maskA, maskB }: Readonly<Record<"A" | "B" | "maskA" | "maskB", Value>>,
  { blocks }: BdLoraOptions,
): { A: Value; B: Value } {
  return {
    A: maskA === undefined ? A : mul(tile(A, [1, blocks]), maskA),
    B: maskB === undefined ? B : mul(tile(B, [1, blocks]), maskB),
  };
}

/** 1 in the blocks on the diagonal, [rows, columns]. */
function blockMask(rows: number, columns: number, blocks: number): Tensor<"float64"> {
  const values = new Float64Array(rows * columns);
  const [height, width] = [rows / blocks, columns / blocks];
  for (let i = 0; i < rows; i++) {
    const first = i * columns + Math.floor(i / height) * width;
    values.fill(1, first, first + width);
  }
  return fromData("float64", values, [rows, columns]);
}

function diagonalOf(config: PeftConfig, path: string): "none" | "A" | "B" {
  const holds = (names: Json | undefined) =>
    Array.isArray(names) && names.some((name) => typeof name === "string" && path.includes(name));
  return holds(config.target_modules_bd_a) ? "A" : holds(config.target_modules_bd_b) ? "B" : "none";
}

function requireDivisor(blocks: number, size: number, what: string): void {
  if (size % blocks === 0) return;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    problem: `the blocks of a block-diagonal factor divide ${what}`,
    option: "bdlora.blocks",
    expected: `a divisor of ${size}`,
    found: String(blocks),
  });
}

/** Options of `bdlora`, checked. */
export type { BdLoraOptions };
