import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import type { Tensor } from "@loomweight/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { mergeModel, planModel } from "../src/node/index.ts";
import type { MergePlan, TensorPlan, TensorReference } from "../src/plan/plan.ts";
import { numbersOf } from "./support.ts";

// Of the recorded merges that store 16 bits: how far mergekit's results and ours are from the exact ones, which are
// computed here in float64 by loops of their own.

interface Case {
  readonly name: string;
  readonly kind: string;
  readonly recipe?: string;
  readonly expected?: string;
  readonly error?: boolean;
}

const area = fixtureArea("mergekit");
const scratch = mkdtempSync(join(tmpdir(), "loomweight-accuracy-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** Bits of the mantissa, and the exponent of the smallest normal number. */
const formats: Readonly<Record<string, { readonly bits: number; readonly lowest: number }>> = {
  bfloat16: { bits: 8, lowest: -126 },
  float16: { bits: 11, lowest: -14 },
};

describe.skipIf(area === undefined)("results of 16 bits lie closer to the exact ones than mergekit's", () => {
  const folder = area as string;
  const { cases } =
    area === undefined ? { cases: [] } : readFixtureJson<{ cases: Case[] }>(join(folder, "manifest.json"));
  const stored = cases.filter(({ kind, recipe, expected, error }) => {
    if (kind !== "yaml" || error === true || recipe === undefined || expected === undefined) return false;
    const weights = join(folder, expected, "model.safetensors");
    if (!existsSync(join(folder, recipe)) || !existsSync(weights)) return false;
    return [...readFixtureTensors(weights).values()].some(({ dtype }) => formats[dtype] !== undefined);
  });

  test("there are such cases", () => {
    expect(stored.length).toBeGreaterThan(0);
  });

  for (const { name, recipe, expected } of stored) {
    test(name, async (context) => {
      const plan = await planModel(join(folder, recipe as string), { folder });
      const exact = exactly[plan.method];
      if (exact === undefined) context.skip(`there is no float64 evaluation of ${plan.method} here`);
      const out = join(scratch, name);
      await mergeModel(join(folder, recipe as string), out, { folder });
      const ours = readFixtureTensors(join(out, "model.safetensors"));
      const theirs = readFixtureTensors(join(folder, expected as string, "model.safetensors"));
      const models = modelTensors(plan, folder);
      const error = { ours: newError(), theirs: newError() };
      for (const tensor of plan.tensors) {
        const { dtype, name: each } = tensor;
        const format = formats[dtype];
        if (format === undefined || tensor.copy !== undefined) continue;
        const truth = exact(tensor, (reference) => valuesOf(models, reference));
        addError(error.ours, truth, numbersOf(ours.get(each) as Tensor), format);
        addError(error.theirs, truth, numbersOf(theirs.get(each) as Tensor), format);
      }
      const figures = Object.fromEntries(
        Object.entries(error).map(([who, { worst, sum, wrong, count }]) => [
          who,
          { worst: worst.toFixed(3), mean: (sum / count).toFixed(4), wronglyRounded: wrong, count },
        ]),
      );
      await context.annotate(JSON.stringify(figures), "accuracy");
      if (process.env.SHOW_ACCURACY !== undefined) console.log(name, JSON.stringify(figures));
      expect(error.ours.count).toBeGreaterThan(1000);
      // Rounded once: never more than half a unit in the last place, and never another value than the nearest.
      expect(error.ours.worst).toBeLessThanOrEqual(0.5 + 1e-9);
      expect(error.ours.wrong).toBe(0);
      expect(error.ours.worst).toBeLessThanOrEqual(error.theirs.worst);
      expect(error.ours.sum).toBeLessThanOrEqual(error.theirs.sum);
    });
  }
});

interface ErrorSum {
  /** In units in the last place of the exact value. */
  worst: number;
  sum: number;
  /** Values that are not the nearest of the format. */
  wrong: number;
  count: number;
}
const newError = (): ErrorSum => ({ worst: 0, sum: 0, wrong: 0, count: 0 });

/** NaN in `truth`: an entry without one result, which is left out. */
function addError(
  into: ErrorSum,
  truth: Float64Array,
  found: Float64Array,
  { bits, lowest }: { readonly bits: number; readonly lowest: number },
): void {
  truth.forEach((value, at) => {
    if (Number.isNaN(value)) return;
    const exponent = value === 0 ? lowest : Math.max(lowest, Math.floor(Math.log2(Math.abs(value))));
    const units = Math.abs(found[at] - value) / 2 ** (exponent - bits + 1);
    into.worst = Math.max(into.worst, units);
    into.sum += units;
    into.count++;
    // A value near the middle of two may be rounded to either, as far as this evaluation can tell.
    if (units > 0.5 + 1e-6) into.wrong++;
  });
}

type Values = (reference: TensorReference) => Float64Array;
type Exactly = (tensor: TensorPlan, values: Values) => Float64Array;

const weightOf = ({ options }: { readonly options: Readonly<Record<string, unknown>> }) => Number(options.weight);
const sum = (numbers: readonly number[]) => numbers.reduce((total, each) => total + each, 0);

/** The formulas of the references' README in float64, by method. */
const exactly: Readonly<Record<string, Exactly>> = {
  linear({ inputs, options }, values) {
    const weights = inputs.map(weightOf);
    const divisor = options.normalize === false ? 1 : sum(weights);
    const all = inputs.map(values);
    return all[0].map((_, at) => sum(all.map((each, i) => weights[i] * each[at])) / divisor);
  },
  "task-arithmetic"({ base, inputs, options }, values) {
    const start = values(base as TensorReference);
    const weights = inputs.map(weightOf);
    const factor = Number(options.lambda) / (options.normalize === true ? sum(weights) : 1);
    const all = inputs.map(values);
    return start.map((value, at) => value + factor * sum(all.map((each, i) => weights[i] * (each[at] - value))));
  },
  slerp({ base, inputs, options }, values) {
    const [a, b] = [values(base as TensorReference), values(inputs[0])];
    const t = Number(options.t);
    const length = (each: Float64Array) => Math.sqrt(each.reduce((total, value) => total + value * value, 0));
    const [u, v] = [length(a), length(b)].map((each) => (each <= 1e-8 ? 1 : each));
    const cosine = a.reduce((total, value, at) => total + (value / u) * (b[at] / v), 0);
    if (Math.abs(cosine) > 0.9995) return a.map((value, at) => (1 - t) * value + t * b[at]);
    const angle = Math.acos(cosine);
    const [left, right] = [Math.sin((1 - t) * angle), Math.sin(t * angle)].map((each) => each / Math.sin(angle));
    return a.map((value, at) => left * value + right * b[at]);
  },
  ties({ base, inputs, options }, values) {
    const start = values(base as TensorReference);
    const weights = inputs.map(weightOf);
    const atCut = new Set<number>();
    const trimmed = inputs.map((input) => {
      const delta = values(input).map((value, at) => value - start[at]);
      const density = Number(input.options.density);
      if (density >= 1) return delta;
      const keep = Math.floor(density * delta.length);
      const magnitudes = delta.map(Math.abs).sort();
      const cut = magnitudes[magnitudes.length - keep];
      // Which of equals at the cut are kept is arbitrary, unless all are.
      if (magnitudes[magnitudes.length - keep - 1] === cut) {
        delta.forEach((value, at) => {
          if (Math.abs(value) === cut) atCut.add(at);
        });
      }
      return delta.map((value) => (Math.abs(value) >= cut ? value : 0));
    });
    return start.map((value, at) => {
      if (atCut.has(at)) return Number.NaN;
      const weighted = trimmed.map((each, i) => weights[i] * each[at]);
      const elected = sum(weighted) >= 0 ? 1 : -1;
      const agrees = weighted.map((each) => Math.sign(each) === elected);
      const mixed = sum(weighted.filter((_, i) => agrees[i]));
      const divisor = sum(weights.filter((_, i) => agrees[i])) || 1;
      return value + Number(options.lambda) * (options.normalize === false ? mixed : mixed / divisor);
    });
  },
};

/** The tensors of every model of a plan; undefined for models with adapters. */
function modelTensors({ models }: MergePlan, folder: string): (ReadonlyMap<string, Tensor> | undefined)[] {
  return models.map((model) => {
    const path = join(folder, model);
    if (!existsSync(path)) return undefined;
    const files = readdirSync(path).filter((file) => file.endsWith(".safetensors"));
    return new Map(files.flatMap((file) => [...readFixtureTensors(join(path, file))]));
  });
}

function valuesOf(models: ReturnType<typeof modelTensors>, { model, tensor, cut }: TensorReference): Float64Array {
  const found = models[model]?.get(tensor);
  if (found === undefined || cut !== undefined) throw new Error(`${tensor} is not read from a file as it is`);
  return numbersOf(found);
}
