import { existsSync } from "node:fs";
import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { type Tensor, toFloat64 } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import {
  continualAverage,
  continualTaskArithmetic,
  continualTies,
  type OpcmState,
  opcmLambda,
  opcmMerged,
  opcmStep,
} from "../../src/index.ts";

interface Case {
  readonly name: string;
  readonly set: string;
  readonly models: number;
  readonly code: "current" | "papertime" | "baseline";
  readonly options: {
    readonly alpha?: number;
    readonly scaling_factor?: number;
    readonly threshold?: number;
    readonly merge_func?: "sum" | "mean";
  };
  readonly lambda_t?: readonly number[];
  readonly avg_task_vector_norm?: readonly number[];
  readonly splitRanks?: readonly { readonly step: number; readonly param: string; readonly splitRank: number }[];
}

/** Where the reference does what nobody wants, by the README: compared with the independent run instead. */
const independent = new Set(["lowrank", "buffers", "loose", "late"]);

function expectTensors(found: ReadonlyMap<string, Tensor>, expected: ReadonlyMap<string, Tensor>): void {
  expect(expected.size).toBeGreaterThan(0);
  for (const [name, tensor] of expected) {
    const [a, b] = [toFloat64(found.get(name) as Tensor), toFloat64(tensor)];
    let most = 0;
    for (let i = 0; i < b.length; i++) most = Math.max(most, Math.abs(a[i] - b[i]));
    expect(most, name).toBeLessThanOrEqual(1e-10);
  }
}

describe("OPCM, recorded", () => {
  const folder = fixtureArea("methods/46-opcm");
  if (folder === undefined || !existsSync(folder)) {
    test("recorded cases", (context) => context.skip("the fixtures do not hold this method"));
    return;
  }
  const tensors = readFixtureTensors(join(folder, "cases.safetensors"));
  const apart = readFixtureTensors(join(folder, "independent.safetensors"));
  const under = (all: ReadonlyMap<string, Tensor>, prefix: string) =>
    new Map([...all].filter(([key]) => key.startsWith(prefix)).map(([key, each]) => [key.slice(prefix.length), each]));
  for (const each of readFixtureJson<{ cases: Case[] }>(join(folder, "cases.json")).cases) {
    const set = each.set === "repeat" ? "main" : each.set;
    const order = each.set === "repeat" ? [0, 0, 1] : Array.from({ length: each.models }, (_, i) => i);
    const base = under(tensors, `set/${set}/base/`);
    const models = order.map((i) => under(tensors, `set/${set}/m${i}/`));
    const recorded = (step: number) =>
      independent.has(each.name)
        ? under(apart, `${each.name}/${step}/merged/`)
        : under(tensors, `${each.name}/${step}/merged/`);
    if (each.code === "baseline") {
      test(each.name, () => {
        const { scaling_factor: scaling, threshold, merge_func: combine } = each.options;
        if (threshold !== undefined) {
          let tied: ReadonlyMap<string, Tensor> | undefined;
          for (const [step, model] of models.entries()) {
            tied = continualTies(base, tied, model, { density: threshold / 100, scaling, combine });
            expectTensors(tied, recorded(step));
          }
          return;
        }
        let merged: ReadonlyMap<string, Tensor> = scaling === undefined ? models[0] : base;
        for (const [step, model] of models.entries()) {
          if (scaling !== undefined) merged = continualTaskArithmetic(base, merged, model, scaling);
          else if (step > 0) merged = continualAverage(merged, model, step);
          expectTensors(merged, recorded(step));
        }
      });
      continue;
    }
    test(each.name, () => {
      let state: OpcmState | undefined;
      for (const [step, model] of models.entries()) {
        const result = opcmStep(base, model, state, {
          alpha: each.options.alpha,
          zeroDiagonal: each.code !== "papertime",
        });
        state = result.state;
        if (step === 0 && independent.has(each.name)) continue; // not recorded: the model itself
        expectTensors(opcmMerged(base, state), recorded(step));
        if (independent.has(each.name)) {
          expect(opcmLambda(state)).toBeCloseTo(toFloat64(apart.get(`${each.name}/${step}/lambda`) as Tensor)[0], 10);
          continue;
        }
        expect(result.lambda).toBeCloseTo(each.lambda_t?.[step] ?? Number.NaN, 10);
        expect(state.meanNorm).toBeCloseTo(each.avg_task_vector_norm?.[step] ?? Number.NaN, 10);
        for (const { param, splitRank } of (each.splitRanks ?? []).filter((split) => split.step === step)) {
          // No model changes it: there is nothing to split.
          if (param !== "frozen.weight") expect(result.splitRanks.get(param), param).toBe(splitRank);
        }
      }
    });
  }
});
