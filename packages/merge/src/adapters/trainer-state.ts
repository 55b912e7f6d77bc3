import { parseJsonObject } from "@loomweight/checkpoint";
import { LoomweightError } from "@loomweight/tensor";

/** What a training run logged. */
export interface TrainerState {
  /** Optimizer steps taken when it was saved. */
  readonly step: number;
  /** Training loss, mean of each logging window, by the step at its end. */
  readonly losses: readonly { readonly step: number; readonly loss: number }[];
}

/** Reads a `trainer_state.json` as the Hugging Face Trainer writes it beside a checkpoint; throws `INVALID_FILE`. */
export function readTrainerState(bytes: Uint8Array, file = "trainer_state.json"): TrainerState {
  const state = parseJsonObject(bytes, file, { duplicates: "last" });
  const { global_step: step, log_history: history } = state;
  if (typeof step !== "number" || !Number.isInteger(step) || step < 0)
    throw invalid(file, "global_step", "a whole number", step);
  if (!Array.isArray(history)) throw invalid(file, "log_history", "a list", history);
  const losses = history.flatMap((entry) => {
    const { step: at, loss } = (entry ?? {}) as { step?: unknown; loss?: unknown };
    return typeof at === "number" && typeof loss === "number" ? [{ step: at, loss }] : [];
  });
  return { step, losses };
}

/** The loss logged last at or before a step: the mean of the window that ends there. Throws `MISSING_METRIC`. */
export function lossAtStep({ losses }: TrainerState, step: number, file = "trainer_state.json"): number {
  const before = losses.filter((each) => each.step <= step).sort((a, b) => b.step - a.step);
  if (before.length > 0) return before[0].loss;
  throw new LoomweightError({
    code: "MISSING_METRIC",
    problem: `no training loss was logged up to step ${step}`,
    file,
    fix: "Weigh by step, give the values, or leave this checkpoint out.",
  });
}

function invalid(file: string, option: string, expected: string, found: unknown): LoomweightError {
  return new LoomweightError({
    code: "INVALID_FILE",
    problem: "this is not the state of a training run",
    file,
    option,
    expected,
    found: found === undefined ? "nothing" : JSON.stringify(found)?.slice(0, 80),
  });
}
