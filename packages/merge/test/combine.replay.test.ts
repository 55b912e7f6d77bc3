import { join } from "node:path";
import { layerOf, type PeftConfig, readAdapter } from "@loomweight/adapters";
import { openAdapterFolder } from "@loomweight/adapters/node";
import { bytesSource, openSafetensors } from "@loomweight/checkpoint";
import { fixtureArea, fixtureCases, readFixtureJson, readFixtureTensors } from "@loomweight/fixtures";
import { matMul } from "@loomweight/graph";
import { type Tensor, toFloat64, transpose } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { type CombineOptions, combineAdapters } from "../src/index.ts";

interface Call {
  readonly adapters: readonly string[];
  readonly weights: readonly number[];
  readonly combination_type: string;
  readonly density?: number;
  readonly majority_sign_method?: "total" | "frequency";
  readonly svd_rank?: number;
  readonly svd_clamp?: number;
}
interface Expected {
  readonly combinations: Readonly<
    Record<string, { readonly call: Call; readonly scaling?: readonly number[]; readonly refused?: string }>
  >;
}

const absent = "(no recorded cases here)";
const area = fixtureArea("peft") ?? "";
const sets = fixtureCases("peft", { within: "combine" });
const cases = sets.flatMap((set) => {
  const { combinations } = readFixtureJson<Expected>(join(area, "combine", set, "expected.json"));
  return Object.keys(combinations).map((name) => `${set}/${name}`);
});

describe("adapters that PEFT combined", () => {
  test.for(cases.length > 0 ? cases : [absent])("%s", async (each, context) => {
    if (each === absent) return context.skip("the references are not in this copy");
    const [set, name] = each.split("/");
    const folder = join(area, "combine", set);
    const { call, scaling, refused } = readFixtureJson<Expected>(join(folder, "expected.json")).combinations[name];
    const adapters = await Promise.all(call.adapters.map((own) => openAdapterFolder(join(folder, own))));
    const options: CombineOptions = {
      combination: call.combination_type as CombineOptions["combination"],
      density: call.density ?? 1,
      majoritySign: call.majority_sign_method ?? "total",
      rank: call.svd_rank ?? 0,
      clamp: call.svd_clamp ?? 1,
    };
    const weighted = adapters.map((adapter, index) => ({ adapter, weight: call.weights[index] }));
    const { files } = await combineAdapters(weighted, options);
    await Promise.all(adapters.map(({ checkpoint }) => checkpoint.close()));
    const made = readAdapter(
      JSON.parse(files.config) as PeftConfig,
      await openSafetensors(bytesSource(files.weights, "combined.safetensors")),
    );
    if (refused !== undefined) {
      // PEFT refuses other ranks where factors are added; here the lower is filled up with zeros.
      expect(refused).toMatch(/same r value/);
      expect(made.modules.size).toBeGreaterThan(0);
      return;
    }
    const recorded = [...readFixtureTensors(join(folder, "expected.safetensors"))].flatMap(([key, tensor]) =>
      key.startsWith(`${name}/delta/`) ? [[key.slice(`${name}/delta/`.length), tensor] as const] : [],
    );
    expect(recorded.length).toBeGreaterThan(0);
    // PEFT keeps use_rslora and sets alpha to the rank, so that its deltas are √rank too large; ours have scaling 1.
    const excess = scaling?.[0] ?? 1;
    for (const [key, expected] of recorded) {
      const path = key.slice(0, -".weight".length);
      const module = made.modules.get(path);
      expect([path, module === undefined]).toEqual([path, false]);
      expect([module?.options.rank, module?.options.rankStabilized]).toEqual([module?.options.alpha, false]);
      const factor = async (param: string) => {
        const tensor = await made.checkpoint.read(module?.params.get(param)?.name as string);
        return { ...tensor, ...layerless(tensor) } as Tensor;
      };
      const [a, b] = [await factor("A"), await factor("B")];
      const delta = matMul(b, a) as Tensor;
      const stored =
        module?.kind === "embedding" || adapters[0].config.values.fan_in_fan_out === true
          ? transpose(delta, [1, 0])
          : delta;
      const [ours, theirs] = [toFloat64(stored), toFloat64(expected)];
      expect(ours.length).toBe(theirs.length);
      const worst = ours.reduce((most, value, i) => Math.max(most, Math.abs(value - theirs[i] / excess)), 0);
      expect(worst, key).toBeLessThanOrEqual(toleranceOf(call));
    }
  });
});

/** Of the folder's README; what a clamp gives depends on the signs that LAPACK chose. */
function toleranceOf({ combination_type, svd_clamp }: Call): number {
  if (svd_clamp !== undefined) return 5e-2;
  return combination_type.includes("svd") ? 2e-6 : 1e-6;
}

/** A factor of a convolution as a matrix. */
function layerless({ shape }: Tensor): { shape: number[]; stride: number[] } {
  const columns = shape.slice(1).reduce((product, size) => product * size, 1);
  expect(layerOf("linear", [shape[0], columns]).out).toBe(shape[0]);
  return { shape: [shape[0], columns], stride: [columns, 1] };
}
