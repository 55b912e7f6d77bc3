import { LoomweightError } from "@loomweight/tensor";
import type { TrainOptions } from "./train.ts";

/** Numbers in their ranges; throws `INVALID_OPTION` naming the option. */
export function checkOptions(options: TrainOptions): void {
  const { steps, accumulate, clip = {}, ema, seed, learningRate, evaluation } = options;
  const whole = (least: number) => (value: number) => Number.isSafeInteger(value) && value >= least;
  const positive = (value: number) => Number.isFinite(value) && value > 0;
  check("steps", steps, whole(0), "a whole number from 0 on");
  check("accumulate", accumulate, whole(1), "a whole number from 1 on");
  check("clip.norm", clip.norm, positive, "a number above 0");
  check("clip.value", clip.value, positive, "a number above 0");
  check("ema.decay", ema?.decay, (value) => value >= 0 && value < 1, "0 <= x < 1");
  check("seed", seed, Number.isSafeInteger, "a whole number");
  check("evaluation.every", evaluation?.every, whole(1), "a whole number from 1 on");
  if (typeof learningRate !== "function") {
    check(
      "learningRate",
      learningRate,
      (value) => Number.isFinite(value) && value >= 0,
      "a number from 0 on, or a schedule",
    );
  }
  for (const name of Object.keys(options.buffers ?? {})) {
    if (!Object.hasOwn(options.parameters, name)) continue;
    throw new LoomweightError({
      code: "INVALID_OPTION",
      option: "buffers",
      problem: `"${name}" is a parameter as well`,
      fix: "Leave running statistics out of `parameters`.",
    });
  }
}

function check(option: string, value: number | undefined, accepts: (value: number) => boolean, expected: string): void {
  if (value === undefined || (typeof value === "number" && accepts(value))) return;
  throw new LoomweightError({
    code: "INVALID_OPTION",
    option,
    problem: "invalid value",
    expected,
    found: String(value),
  });
}
