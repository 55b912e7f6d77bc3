import { mul } from "@loomweight/graph";
import { cast, concatenate, invalidOption, LoomweightError, type Tensor, unknownName } from "@loomweight/tensor";
import { type LoraStart, type LowRankStart, lowRankStarts, type PlainStart } from "../initialise/low-rank-start.ts";
import { trainableTokens } from "../methods/trainable-tokens.ts";
import type { KeySuffix, PeftConfig, PeftFormat } from "./format.ts";

export { loraFields } from "./fields.ts";

/** Keys of the two factors. */
export const lowRankSuffixes: Readonly<Record<string, KeySuffix<"A" | "B">>> = {
  "lora_A.weight": { param: "A" },
  "lora_B.weight": { param: "B" },
  lora_embedding_A: { param: "A", kind: "embedding" },
  lora_embedding_B: { param: "B", kind: "embedding" },
};

/** Names of initialisations in files that have the same name here. */
const namedStarts = lowRankStarts.filter((name) => name !== "uniform");
/** Initialisations that change the base weight by data, gradients or chance, which no file holds. */
const lostInitialisations = ["corda", "lora_ga", "loftq"];

/** Fields of the options that every low-rank method has. */
export const lowRankFields = { rank: "r", alpha: "lora_alpha", rankStabilized: "use_rslora" };

/** Methods whose tensors a LoRA file may hold too. */
export const loraCompanions = [trainableTokens];

/**
 * How the factors started, which says what became of the base weight. Throws `UNSUPPORTED_ADAPTER` where it was changed
 * in a way that cannot be repeated.
 */
export function readStart(config: PeftConfig, file: string): LowRankStart {
  const init = config.init_lora_weights;
  const place = { file, option: "init_lora_weights" };
  if (typeof init === "boolean") return "uniform";
  if (typeof init !== "string") {
    throw invalidOption(place, JSON.stringify(init), "true, false or the name of an initialisation");
  }
  const named = namedStarts.find((name) => name === init);
  if (named !== undefined) return named;
  const random = /^pissa_niter_\d+$/.test(init);
  if (random || lostInitialisations.includes(init)) {
    throw new LoomweightError({
      code: "UNSUPPORTED_ADAPTER",
      problem: random
        ? `an adapter initialised by "${init}" belongs to a base model that was changed by a random start, which its files do not hold`
        : `an adapter initialised by "${init}" belongs to a base model that was changed by data, which its files do not hold`,
      ...place,
      fix: "Convert it to a plain LoRA first (PEFT: save_pretrained with path_initial_model_for_weight_conversion).",
    });
  }
  throw unknownName({
    kind: "initialisation",
    name: init,
    known: [...namedStarts, ...lostInitialisations],
    code: "UNSUPPORTED_ADAPTER",
    ...place,
  });
}

/** A configuration of EVA that no start of that name goes with, or the other way round: what trained it is not what it says. */
export function startWarnings({ init_lora_weights: init, eva_config: eva }: PeftConfig): string[] {
  if (eva !== null && init !== "eva") return [`eva_config is given, but init_lora_weights is ${JSON.stringify(init)}`];
  if (eva === null && init === "eva") return ['init_lora_weights is "eva", but eva_config is not given'];
  return [];
}

/** `init_lora_weights` for a start. */
export function writtenStart(start: LoraStart): boolean | string {
  return start === "uniform" ? true : start;
}

/**
 * A LoRA whose first factors were taken out of the base, which a file cannot say: W − s · B₀ A₀ + s · B A is a plain LoRA
 * of twice the rank, A′ = [A; A₀], B′ = [B, −B₀], as PEFT converts them.
 */
export const givenAsPlain: PeftFormat["converted"] = {
  isNeeded: ({ init }) => init === "given",
  options: (options) => {
    const grown = options.rankStabilized === true ? Math.SQRT2 : 2; // keeps s = alpha / rank (or / √rank)
    return { ...options, init: "uniform", rank: 2 * Number(options.rank), alpha: grown * Number(options.alpha) };
  },
  params: ({ A, B, takenA, takenB, ...others }) => ({
    ...others,
    A: concatenate([A, alike(takenA, A)], 0),
    B: concatenate([B, alike(mul(takenB, -1) as Tensor, B)], 1),
  }),
};

const alike = (tensor: Tensor, other: Tensor): Tensor => cast(tensor, other.dtype as "float32");

/** How the factors started. Refuses initialisations that changed the base model. */
export function requirePlainStart(config: PeftConfig, file: string, method: string): PlainStart {
  const start = readStart(config, file);
  if (start !== "pissa" && start !== "olora") return start;
  throw new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: `${method} on a base that "${start}" changed is not supported`,
    file,
    option: "init_lora_weights",
    fix: "Convert it to a plain LoRA first (PEFT: save_pretrained with path_initial_model_for_weight_conversion).",
  });
}
