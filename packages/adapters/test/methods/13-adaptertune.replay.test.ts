import { type MethodCase, methodCases } from "@loomweight/fixtures";
import { evaluateTrace, type Value } from "@loomweight/graph";
import { fromData, type Tensor } from "@loomweight/tensor";
import { describe, expect, test } from "vitest";
import { type Bottleneck, foldIntoUp } from "../../src/maths/bottleneck.ts";
import { type AdapterTuneOptions, adapterTune, everySite } from "../../src/methods/adaptertune.ts";
import { adapterRandom } from "../../src/random/adapter-random.ts";
import {
  expectRelative,
  expectStatistics,
  numbersOf,
  replayed,
  replayGradients,
  replayTraining,
  tolerance,
  type Values,
} from "../method-replay.ts";
import { vit } from "../vit.ts";

const cases = methodCases("13-adaptertune");
const names = { "down.weight": "down", "down.bias": "downBias", "up.weight": "up", "up.bias": "upBias" };

const paramsBelow = (values: Values, path: string) =>
  Object.fromEntries(Object.entries(names).map(([name, ours]) => [ours, values(`param/${path}${name}`)]));
const optionsOf = ({ rank, alpha }: Readonly<Record<string, unknown>>): AdapterTuneOptions => ({
  rank: Number(rank),
  alpha: Number(alpha),
  init: "zero",
});

function adapterOf(recorded: MethodCase, values: Values): Value {
  const x = values("in/x");
  const width = Number(x.shape.at(-1));
  const site = { path: "block", index: 0, in: width, out: width, input: x, output: x };
  return adapterTune.apply(site, paramsBelow(values, ""), optionsOf(recorded.options));
}

/** `adapted`: with the adapters; with `up` zero where asked for. */
function vitOf(recorded: MethodCase, values: Values, adapters: "as recorded" | "zero up" | "none"): Value {
  const { depth, num_heads, every } = recorded.options as Record<string, number>;
  const adapted = everySite(depth, every);
  const weights = (name: string) =>
    ["base/", "param/"]
      .map((prefix) => prefix + name)
      .filter((key) => recorded.tensors.has(key))
      .map(values)[0];
  return vit(weights, values("in/x"), {
    depth,
    heads: num_heads,
    change: (site) => {
      const block = /^blocks\.(\d+)$/.exec(site.path);
      if (adapters === "none" || block === null || !adapted.includes(Number(block[1]))) return undefined;
      const width = Number(site.output.shape.at(-1));
      const params = paramsBelow(values, `blocks.${block[1]}.adapter.`);
      const zero = (value: Value) =>
        fromData(
          "float64",
          new Float64Array(value.shape.reduce<number>((n, size) => n * Number(size), 1)),
          value.shape as number[],
        );
      const used = adapters === "zero up" ? { ...params, up: zero(params.up), upBias: zero(params.upBias) } : params;
      return adapterTune.apply(
        { ...site, index: Number(block[1]), in: width, out: width },
        used,
        optionsOf(recorded.options),
      );
    },
  });
}

test("the recorded cases are there", (context) => {
  if (cases.length === 0) context.skip("methods/13-adaptertune is not among these references");
  expect([...new Set(cases.map(({ kind }) => kind))].sort()).toEqual(["adapter", "init_statistics", "vit"]);
});

describe.each(cases.filter(({ kind }) => kind === "adapter" || kind === "vit"))("$name", (recorded) => {
  const { values, feeds } = replayed(recorded);
  const isVit = recorded.kind === "vit";
  const y = isVit ? vitOf(recorded, values, "as recorded") : adapterOf(recorded, values);
  test("output and gradients", () => {
    replayGradients(recorded, y, isVit ? "out/logits" : "out/y");
  });
  test("training", () => {
    replayTraining(recorded, y);
  });
  if (recorded.tensors.has("folded/up.weight")) {
    test("alpha folded into up", () => {
      const params = paramsBelow((name) => recorded.tensor(name), "") as unknown as Bottleneck<Tensor>;
      const folded = foldIntoUp(params, Number(recorded.options.alpha));
      expectRelative(folded.up, recorded.tensor("folded/up.weight"), tolerance.output, "folded/up.weight");
      expectRelative(folded.upBias, recorded.tensor("folded/up.bias"), tolerance.output, "folded/up.bias");
    });
  }
  if (recorded.name.endsWith("_from_zero")) {
    test("the first step leaves down as it is", () => {
      expect(numbersOf(recorded.tensor("grad/down.weight")).every((value) => value === 0)).toBe(true);
    });
  }
  if (isVit) {
    test("adapted blocks, and the backbone bit for bit at zero", () => {
      const { depth, every } = recorded.options as Record<string, number>;
      expect(everySite(depth, every)).toEqual(recorded.entry.adapted_blocks);
      const { base, zero } = evaluateTrace(
        { base: vitOf(recorded, values, "none"), zero: vitOf(recorded, values, "zero up") },
        feeds,
      );
      expectRelative(base, recorded.tensor("out/logits_base"), tolerance.output, "out/logits_base");
      expect(numbersOf(zero)).toEqual(numbersOf(base));
    });
  }
});

describe.each(cases.filter(({ kind }) => kind === "init_statistics"))("$name", (recorded) => {
  test("initial tensors follow the recorded laws", () => {
    const draws: Record<string, number[]> = {};
    const given = {
      ...optionsOf({ rank: 6, alpha: 1 }),
      init: recorded.name === "init_small" ? ("small" as const) : ("zero" as const),
    };
    for (let i = 0; i < 200; i++) {
      const made = adapterTune.init({ path: "m", index: 0, in: 20, out: 20 }, given, { random: adapterRandom(i, "m") });
      for (const [name, ours] of Object.entries(names)) (draws[name] ??= []).push(...numbersOf(made[ours]));
    }
    for (const name of Object.keys(recorded.entry.stats as object)) expectStatistics(recorded, name, draws[name]);
  });
});
