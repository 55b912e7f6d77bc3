import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixtureArea, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { LoomweightError, type Tensor } from "@loomweight/tensor";
import { afterAll, describe, expect, test } from "vitest";
import { mergeMethods } from "../src/method-list.ts";
import { mergeModel, planModel } from "../src/node/index.ts";
import type { MergePlan } from "../src/plan/plan.ts";
import { compareStatistics } from "./statistics.ts";
import { numbersOf } from "./support.ts";
import { matchRows, withRows } from "./tokens.ts";

interface Case {
  readonly name: string;
  readonly kind: string;
  readonly recipe?: string;
  readonly expected?: string;
  readonly statistics?: string;
  readonly flags?: readonly string[];
  readonly error?: boolean;
  readonly not_compared?: readonly string[];
}

interface Difference {
  readonly case: string;
  /**
   * A tensor's name, or part of it with *; `refused` and `accepted`: the whole recipe, unlike mergekit; `config`:
   * config.json.
   */
  readonly tensor: string;
  /** Where only these rows differ. */
  readonly rows?: readonly number[];
  readonly reason: string;
}

const area = fixtureArea("mergekit");
const differences = readFixtureJson<Difference[]>(join(import.meta.dirname, "..", "differences.json"));
const scratch = mkdtempSync(join(tmpdir(), "loomweight-merge-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const unbuiltKinds: Readonly<Record<string, string>> = {
  moe: "mixtures of experts are not built yet",
  extract: "LoRA extraction is not built yet",
};

describe.skipIf(area === undefined)("recorded results of mergekit", () => {
  const folder = area as string;
  const { cases } =
    area === undefined ? { cases: [] } : readFixtureJson<{ cases: Case[] }>(join(folder, "manifest.json"));
  for (const each of cases) {
    test(each.name, async (context) => {
      if (unbuiltKinds[each.kind] !== undefined) context.skip(unbuiltKinds[each.kind]);
      const recipe = join(folder, each.recipe as string);
      if (!existsSync(recipe)) context.skip("the recipe is not in this part of the references");
      const own = differences.filter((difference) => difference.case === each.name);
      const out = join(scratch, each.name);
      const run = () => mergeModel(recipe, out, { folder, maxShardBytes: shardBytes(each) });
      const refusal = own.find(({ tensor }) => tensor === "refused");
      const isAccepted = own.some(({ tensor }) => tensor === "accepted");
      if (isAccepted) {
        expect(each.error).toBe(true);
        await run();
        expect(folderTensors(out).size).toBeGreaterThan(0);
        return;
      }
      if (each.error === true || refusal !== undefined) {
        const error = await run().then(
          () => undefined,
          (reason: unknown) => reason,
        );
        expect(error).toBeInstanceOf(LoomweightError);
        if (refusal === undefined && isUnbuilt(error)) context.skip((error as Error).message);
        expect(readdirSync(scratch)).not.toContain(each.name);
        return;
      }
      try {
        if (each.statistics !== undefined) {
          const plan = await planModel(recipe, { folder });
          await compareStatistics(plan, folder, readFixtureJson(join(folder, each.statistics)));
          return;
        }
        for (const { target, path } of expectedOutputs(join(folder, each.expected as string))) {
          await mergeModel(recipe, out, { folder, target, maxShardBytes: shardBytes(each) });
          const plan = await planModel(recipe, { folder, target });
          compareFolders(out, path, each, plan, own, [folder, join(folder, each.expected as string, "intermediate")]);
          rmSync(out, { recursive: true });
        }
      } catch (error) {
        if (isUnbuilt(error)) context.skip((error as Error).message);
        throw error;
      }
    });
  }
});

/** What a case wrote: its output, and the results of documents that have names. */
function expectedOutputs(path: string): { target: string | undefined; path: string }[] {
  const intermediate = join(path, "intermediate");
  const named = existsSync(intermediate) ? readdirSync(intermediate) : [];
  const hasOutput = readdirSync(path).some((file) => file.endsWith(".safetensors"));
  return [
    ...(hasOutput ? [{ target: undefined, path }] : []),
    ...named.map((target) => ({ target, path: join(intermediate, target) })),
  ];
}

function isUnbuilt(error: unknown): boolean {
  return (
    error instanceof LoomweightError && (error.code === "UNSUPPORTED_METHOD" || /not built yet/.test(error.message))
  );
}

function shardBytes({ flags = [] }: Case): number | undefined {
  const at = flags.indexOf("--out-shard-size");
  return at < 0 ? undefined : Number.parseInt(flags[at + 1], 10) * 1000;
}

/** A model's tensors, whatever the number of its files; `path` may be one of them. */
function folderTensors(path: string): Map<string, Tensor> {
  if (path.endsWith(".safetensors")) return readFixtureTensors(path);
  const files = readdirSync(path).filter((file) => file.endsWith(".safetensors"));
  return new Map(files.flatMap((file) => [...readFixtureTensors(join(path, file))]));
}

function compareFolders(
  out: string,
  expectedPath: string,
  { not_compared = [] }: Case,
  plan: MergePlan,
  own: readonly Difference[],
  folders: readonly string[],
): void {
  const found = folderTensors(out);
  const expected = folderTensors(expectedPath);
  const skipped = [...not_compared, ...own.filter(({ rows }) => rows === undefined).map(({ tensor }) => tensor)];
  const rowOf = plan.vocabulary === undefined ? undefined : matchRows(out, expectedPath);
  expect([...found.keys()].sort()).toEqual([...expected.keys()].sort());
  const faults: string[] = [];
  for (const [name, wanted] of expected) {
    const got = found.get(name) as Tensor;
    if (skipped.some((pattern) => matches(name, pattern))) continue;
    if (String(got.shape) !== String(wanted.shape) || got.dtype !== wanted.dtype) {
      faults.push(`${name}: ${got.dtype} [${got.shape}], expected ${wanted.dtype} [${wanted.shape}]`);
      continue;
    }
    const hasTokens = rowOf !== undefined && wanted.shape.length === 2 && wanted.shape[0] === plan.vocabulary?.rows;
    const differing = own.find(({ tensor, rows }) => tensor === name && rows !== undefined)?.rows ?? [];
    const pick = (values: Float64Array, rows: readonly number[]) => withRows(values, wanted.shape, rows);
    const rows = hasTokens ? [...Array(wanted.shape[0]).keys()].filter((row) => !differing.includes(row)) : [];
    const a = hasTokens ? pick(numbersOf(got), rows.map(rowOf)) : numbersOf(got);
    const b = hasTokens ? pick(numbersOf(wanted), rows) : numbersOf(wanted);
    const allowed = tolerance(plan, name, wanted.dtype);
    const wrong = [...a.keys()].filter((i) => !(Math.abs(a[i] - b[i]) <= allowed(b[i])));
    if (wrong.length === 0) continue;
    const atCut = entriesAtCut(plan, name, folders);
    const real = wrong.filter((i) => !atCut(i));
    if (real.length > 0) {
      faults.push(
        `${name}: ${real.length} of ${a.length} differ, e.g. [${real[0]}] ${a[real[0]]}, expected ${b[real[0]]}`,
      );
    }
  }
  expect(faults).toEqual([]);
  if (!skipped.includes("config") && existsSync(join(expectedPath, "config.json"))) {
    const [config, wanted] = [out, expectedPath].map((path) =>
      readFixtureJson<Record<string, unknown>>(join(path, "config.json")),
    );
    expect(config).toEqual(wanted);
  }
}

/** The tolerances of the references' README, §5. */
function tolerance(plan: MergePlan, name: string, dtype: string): (value: number) => number {
  const tensor = plan.tensors.find((each) => each.name === name);
  const { method } = plan;
  // With an adapter folded in, a passthrough computes.
  if (method === "passthrough" && !plan.models.some((model) => model.includes("+"))) {
    const scaled = tensor?.inputs.some(({ options }) => options.scale !== 1) ?? false;
    return (value) => (scaled ? 1e-7 * Math.abs(value) : 0);
  }
  if (dtype === "bfloat16") {
    const cancels = method === "model-stock" || method === "task-arithmetic";
    return (value) => Math.max(cancels ? 2 ** -7 : 0, Math.abs(value) / 64 + 1e-3);
  }
  if (dtype === "float16") return (value) => Math.abs(value) / 1024 + 1e-6;
  const unit = method === "model-stock" ? 4e-6 : 2e-6;
  const divisor = tensor?.options.normalize === true ? Math.min(1, smallestDivisor(plan, name)) : 1;
  return (value) => (unit + 2e-6 * Math.abs(value)) / (divisor < 0.1 ? divisor : 1);
}

/** The smallest |sum of weights| over the subsets that can agree on a sign. */
function smallestDivisor(plan: MergePlan, name: string): number {
  const weights =
    plan.tensors.find((each) => each.name === name)?.inputs.map(({ options }) => Number(options.weight)) ?? [];
  let smallest = Number.POSITIVE_INFINITY;
  for (let subset = 1; subset < 2 ** weights.length; subset++) {
    const sum = weights.reduce((all, weight, i) => (subset & (2 ** i) ? all + weight : all), 0);
    if (Math.abs(sum) > 1e-8) smallest = Math.min(smallest, Math.abs(sum));
  }
  return smallest;
}

/** Entries where some task vector lies exactly at a cut, which mergekit breaks arbitrarily. */
function entriesAtCut(plan: MergePlan, name: string, folders: readonly string[]): (index: number) => boolean {
  const tensor = plan.tensors.find((each) => each.name === name);
  if (tensor?.base === undefined) return () => false;
  const read = ({ model, tensor: key }: { model: number; tensor: string }) => {
    const path = folders.map((folder) => join(folder, plan.models[model])).find((each) => existsSync(each));
    return numbersOf(folderTensors(path as string).get(key) as Tensor);
  };
  const base = read(tensor.base);
  const marked = new Set<number>();
  for (const input of tensor.inputs) {
    const density = Number(input.options.density ?? 1);
    if (density >= 1 || plan.method.startsWith("dare")) continue;
    // mergekit takes the difference in the dtype of the base, which makes more of them equal.
    const rounded = tensor.dtype === "bfloat16" ? toBfloat16 : (value: number) => value;
    const magnitudes = read(input).map((value, i) => rounded(Math.abs(value - base[i])));
    const sorted = [...magnitudes].sort((a, b) => b - a);
    const keep = Math.floor(density * sorted.length);
    const top = Math.min(Math.floor(Number(input.options.gamma ?? 0) * sorted.length), sorted.length - keep);
    for (const cut of [sorted[keep + top - 1], ...(top > 0 ? [sorted[top - 1]] : [])]) {
      magnitudes.forEach((value, i) => void (value === cut && marked.add(i)));
    }
  }
  return (index) => marked.has(index);
}

function toBfloat16(value: number): number {
  const word = new Uint32Array(Float32Array.of(value).buffer);
  word[0] = (word[0] + 0x7fff + ((word[0] >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(word.buffer)[0];
}

function matches(name: string, pattern: string): boolean {
  if (!pattern.includes("*")) return name === pattern;
  const parts = pattern.split("*").map((part) => part.replace(/[.+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(name);
}

test("every difference names a method that is built", () => {
  expect(mergeMethods.length).toBeGreaterThan(0);
  for (const { reason } of differences) expect(reason.length).toBeGreaterThan(10);
});
