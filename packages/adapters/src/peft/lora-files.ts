import { invalidOption, LoomweightError, unknownName } from "@loomweight/tensor";
import type { KeySuffix, PeftConfig } from "./format.ts";

export { loraFields } from "./fields.ts";

/** Keys of the two factors. */
export const lowRankSuffixes: Readonly<Record<string, KeySuffix<"A" | "B">>> = {
  "lora_A.weight": { param: "A" },
  "lora_B.weight": { param: "B" },
  lora_embedding_A: { param: "A", kind: "embedding" },
  lora_embedding_B: { param: "B", kind: "embedding" },
};

/** Initialisations that leave the base weight as it is: the file alone says what the adapter does. */
const plainInitialisations = ["gaussian", "orthogonal", "eva", "mica"];
/** Initialisations that change the base weight, which the file does not hold. */
const changingInitialisations = ["pissa", "olora", "corda", "lora_ga", "loftq"];

/** Fields of the options that every low-rank method has. */
export const lowRankFields = { rank: "r", alpha: "lora_alpha", rankStabilized: "use_rslora" };

/** Refuses initialisations that changed the base model. */
export function checkInitialisation(config: PeftConfig, file: string): void {
  const init = config.init_lora_weights;
  const place = { file, option: "init_lora_weights" };
  if (typeof init === "string" && !plainInitialisations.includes(init)) {
    if (changingInitialisations.some((name) => init === name || init.startsWith(`${name}_`))) {
      throw new LoomweightError({
        code: "UNSUPPORTED_ADAPTER",
        problem: `an adapter initialised by "${init}" belongs to a changed base model, which is not supported yet`,
        ...place,
        fix: "Convert it to a plain LoRA first (PEFT: save_pretrained with path_initial_model_for_weight_conversion).",
      });
    }
    throw unknownName({
      kind: "initialisation",
      name: init,
      known: [...plainInitialisations, ...changingInitialisations],
      code: "UNSUPPORTED_ADAPTER",
      ...place,
    });
  }
  if (typeof init !== "string" && typeof init !== "boolean") {
    throw invalidOption(place, JSON.stringify(init), "true, false or the name of an initialisation");
  }
}
