import { join } from "node:path";
import { fixtureArea, readFixtureJson } from "@loomweight/fixtures";
import { describe, expect, test } from "vitest";
import {
  constantSchedule,
  cosineRestartsSchedule,
  cosineSchedule,
  cyclicSchedule,
  exponentialSchedule,
  linearSchedule,
  multiStepSchedule,
  oneCycleMomentum,
  oneCycleSchedule,
  piecewiseSchedule,
  polynomialSchedule,
  type Schedule,
  sequentialSchedule,
  stepSchedule,
  warmup,
} from "../src/index.ts";

interface RecordedSchedule {
  readonly name: string;
  readonly library?: string;
  readonly baseLr?: number;
  readonly call: string;
  readonly lr: readonly number[];
  readonly momentum?: readonly number[];
}

/** Numbers, lists and words of a recorded call: positional by index, keyword by name. */
function argumentsOf(call: string): Record<string, number | string | number[]> {
  const inside = /\((.*)\)/s.exec(call.replace(/, default.*/, ""))?.[1] ?? "";
  const given: Record<string, number | string | number[]> = {};
  for (const [index, part] of (inside.match(/(?:\[[^\]]*\]|[^,[\]])+/g) ?? []).entries()) {
    const [, name, value] = /^\s*(?:(\w+)\s*[= ]\s*)?(.+?)\s*$/.exec(part) ?? [];
    given[name ?? index] = /^\[[\d.,]+\]$/.test(value)
      ? (JSON.parse(value) as number[])
      : Number.isNaN(Number(value))
        ? value.replaceAll("'", "")
        : Number(value);
  }
  return given;
}

type Arguments = Readonly<Record<string, never>>;

function oneCycleOptions(a: Arguments) {
  return {
    steps: a.total_steps,
    ...(a.pct_start !== undefined && { rise: a.pct_start }),
    ...(a.anneal_strategy === "linear" && { curve: "linear" as const }),
    threePhase: (a.three_phase as string) === "True",
  };
}

/** By the name of the recorded call. */
const makers: Readonly<Record<string, (rate: number, a: Arguments) => Schedule>> = {
  StepLR: (rate, a) => stepSchedule({ rate, every: a.step_size, gamma: a.gamma }),
  MultiStepLR: (rate, a) => multiStepSchedule(a.milestones, { rate, gamma: a.gamma }),
  ExponentialLR: (rate, a) => exponentialSchedule({ rate, gamma: a.gamma }),
  CosineAnnealingLR: (rate, a) => cosineSchedule({ rate, steps: a.T_max, floor: a.eta_min, after: "climb" }),
  CosineAnnealingWarmRestarts: (rate, a) =>
    cosineRestartsSchedule({ rate, steps: a.T_0, growth: a.T_mult, floor: a.eta_min }),
  OneCycleLR: (_, a) =>
    oneCycleSchedule({
      peak: a.max_lr,
      ...oneCycleOptions(a),
      startDivisor: a.div_factor ?? 25,
      endDivisor: a.final_div_factor ?? 1e4,
    }),
  LinearLR: (rate, a) =>
    linearSchedule({ rate, steps: a.total_iters, startFactor: a.start_factor, endFactor: a.end_factor }),
  PolynomialLR: (rate, a) => polynomialSchedule({ rate, steps: a.total_iters, power: a.power }),
  ConstantLR: (rate, a) => constantSchedule({ rate, factor: a.factor, steps: a.total_iters }),
  CyclicLR: (_, a) =>
    cyclicSchedule({ low: a.base_lr, high: a.max_lr, up: a.step_size_up, down: a.step_size_down, mode: "halving" }),
  // LambdaLR(t -> (t+1)/8 for t < 8, then 1)
  LambdaLR: (rate) => linearSchedule({ rate, startFactor: 1 / 8, endFactor: 1, steps: 7 }),
  // SequentialLR([LinearLR(0.01, 1, 10), CosineAnnealingLR(50)], milestones=[10])
  SequentialLR: (rate) =>
    sequentialSchedule(
      [
        linearSchedule({ rate, startFactor: 0.01, endFactor: 1, steps: 10 }),
        cosineSchedule({ rate, steps: 50, after: "climb" }),
      ],
      [10],
    ),
  warmup_cosine_decay_schedule: (_, a) =>
    warmup(cosineSchedule({ rate: a.peak, steps: a.decay - a.warmup, floor: a.end }), { steps: a.warmup }),
  exponential_decay: (_, a) => stepSchedule({ rate: a[0], every: a[1], gamma: a[2] }),
  linear_onecycle_schedule: (_, a) =>
    piecewiseSchedule([
      [0, a[1] / 25],
      [Math.trunc(0.3 * a[0]), a[1]],
      [Math.trunc(0.85 * a[0]), a[1] / 25],
      [a[0], a[1] / 25 / 1e4],
    ]),
};

/** Momentum that a recorded schedule moves along, between torch's defaults. */
const momentumMakers: Readonly<Record<string, (a: Arguments) => Schedule>> = {
  OneCycleLR: (a) => oneCycleMomentum(oneCycleOptions(a)),
  CyclicLR: (a) => cyclicSchedule({ low: 0.9, high: 0.8, up: a.step_size_up, down: a.step_size_down, mode: "halving" }),
};

const folder = fixtureArea("optim");
const recorded = folder === undefined ? [] : readFixtureJson<RecordedSchedule[]>(join(folder, "schedules.json"));

describe("schedules", () => {
  if (recorded.length === 0) test("recorded schedules", (context) => context.skip("fixtures/optim is absent"));
  test.each(recorded)("$name", ({ call, baseLr = 0, lr, momentum, library }) => {
    const kind = call.slice(0, call.indexOf("("));
    const schedule = makers[kind]?.(baseLr, argumentsOf(call) as Arguments);
    expect(schedule, `no schedule for ${call}`).toBeDefined();
    // optax computes in float32.
    const tolerance = (expected: number) => (library === "optax" ? 1e-8 + 3e-7 * expected : 1e-15 + 1e-12 * expected);
    for (const [step, expected] of lr.entries()) {
      expect(
        Math.abs(schedule(step) - expected),
        `step ${step}: ${schedule(step)} for ${expected}`,
      ).toBeLessThanOrEqual(tolerance(expected));
    }
    if (momentum === undefined) return;
    const follows = momentumMakers[kind](argumentsOf(call) as Arguments);
    for (const [step, expected] of momentum.entries()) expect(follows(step)).toBeCloseTo(expected, 12);
  });
});
