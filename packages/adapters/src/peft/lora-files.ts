import { invalidOption, LoomweightError, unknownName } from "@loomweight/tensor";
import { type LowRankStart, lowRankStarts } from "../initialise/low-rank-start.ts";
import { trainableTokens } from "../methods/trainable-tokens.ts";
import type { KeySuffix, PeftConfig } from "./format.ts";

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

/** `init_lora_weights` for a start. */
export function writtenStart(start: LowRankStart): boolean | string {
  return start === "uniform" ? true : start;
}

/** Refuses initialisations that changed the base model. */
export function requirePlainStart(config: PeftConfig, file: string, method: string): void {
  const start = readStart(config, file);
  if (start !== "pissa" && start !== "olora") return;
  throw new LoomweightError({
    code: "UNSUPPORTED_ADAPTER",
    problem: `${method} on a base that "${start}" changed is not supported`,
    file,
    option: "init_lora_weights",
    fix: "Convert it to a plain LoRA first (PEFT: save_pretrained with path_initial_model_for_weight_conversion).",
  });
}
